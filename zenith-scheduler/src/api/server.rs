//! Connections: accepting them, encrypting them where that is wanted, and handing them to a door. A handshake that takes long
//! holds up nobody else, and their number is bounded.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::auth::Peer;
use super::{Api, grpc, rest};

/// Connections of one door at most; others wait.
const CONNECTIONS: usize = 8192;

/// A handshake that takes longer is given up.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A pause after the system has no room for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// A place where connections come in.
#[derive(Debug)]
pub struct Entrance {
    address: SocketAddr,
    connections: mpsc::Receiver<Connection>,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: Wire,
    peer: Peer,
    _place: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Entrance {
    /// Listens at an address, and encrypts what comes in where `tls` is given.
    ///
    /// # Errors
    /// What the system says.
    pub async fn open(address: SocketAddr, tls: Option<TlsAcceptor>) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (sender, connections) = mpsc::channel(64);
        tokio::spawn(accept(listener, tls, sender));
        Ok(Self { address, connections })
    }

    /// Where it is; with the port that was found where none was given.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, sender: mpsc::Sender<Connection>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = sender.closed() => return,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                sleep(PAUSE).await;
                continue;
            }
        };
        tokio::spawn(shake_hands(stream, remote, tls.clone(), place, sender.clone()));
    }
}

async fn shake_hands(
    stream: TcpStream,
    remote: SocketAddr,
    tls: Option<TlsAcceptor>,
    place: OwnedSemaphorePermit,
    sender: mpsc::Sender<Connection>,
) {
    let Ok(local) = stream.local_addr() else { return };
    // Small answers are not held back; where the system cannot do that, they are slower.
    let _ = stream.set_nodelay(true);
    let stream = match tls {
        None => Wire::Plain(stream),
        Some(tls) => match timeout(HANDSHAKE, tls.accept(stream)).await {
            Ok(Ok(stream)) => Wire::Tls(Box::new(stream)),
            Ok(Err(error)) => return tracing::debug!(%remote, %error, "a handshake failed"),
            Err(_) => return tracing::debug!(%remote, "a handshake took too long"),
        },
    };
    let peer = Peer::new(remote, local);
    // A door that has closed takes nobody in.
    let _ = sender.send(Connection { stream, peer, _place: place }).await;
}

/// Serves gRPC until the doors close, and then until its calls have ended.
///
/// # Errors
/// What the server says.
pub async fn serve_grpc(api: Api, entrance: Entrance) -> Result<(), tonic::transport::Error> {
    let closing = api.clone();
    let connections = ReceiverStream::new(entrance.connections).map(Ok::<_, io::Error>);
    let closed = async move {
        closing.closing().await;
    };
    grpc::router(api).serve_with_incoming_shutdown(connections, closed).await
}

/// Serves REST until the doors close, and then until its calls have ended.
///
/// # Errors
/// What the system says.
pub async fn serve_rest(api: Api, entrance: Entrance) -> io::Result<()> {
    let closing = api.clone();
    let closed = async move {
        closing.closing().await;
    };
    let service = rest::router(api).into_make_service_with_connect_info::<Peer>();
    axum::serve(entrance, service).with_graceful_shutdown(closed).await
}

impl axum::serve::Listener for Entrance {
    type Io = Connection;
    type Addr = Peer;

    async fn accept(&mut self) -> (Connection, Peer) {
        match self.connections.recv().await {
            Some(connection) => {
                let peer = connection.peer.clone();
                (connection, peer)
            }
            // Nobody accepts any more: nothing comes.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer::new(self.address, self.address))
    }
}

impl axum::extract::connect_info::Connected<axum::serve::IncomingStream<'_, Entrance>> for Peer {
    fn connect_info(stream: axum::serve::IncomingStream<'_, Entrance>) -> Self {
        stream.remote_addr().clone()
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Wire::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Wire::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Wire::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Wire::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Wire::Plain(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
            Wire::Tls(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Wire::Plain(stream) => stream.is_write_vectored(),
            Wire::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(context),
            Wire::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Wire::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
