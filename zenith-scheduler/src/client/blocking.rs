//! The client for programs that know no runtime: calls block. The connection belongs to the process that made it; a forked child
//! makes one of its own with the next call.

use std::future::Future;
use std::pin::pin;
use std::process;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::Streaming;
use zenith_proto::v1;

use super::{Client, ClientError, Followed, Target};

/// How long a wait lasts between two looks at whether to go on.
pub const GLANCE: Duration = Duration::from_millis(50);

/// A client whose calls block.
#[derive(Debug)]
pub struct Blocking {
    target: Target,
    live: Mutex<Option<Arc<Live>>>,
}

#[derive(Debug)]
struct Live {
    process: u32,
    runtime: Runtime,
    client: Client,
}

impl Blocking {
    /// A client of `target`. Nothing is connected before the first call.
    pub fn new(target: Target) -> Self {
        Self { target, live: Mutex::new(None) }
    }

    /// Where the scheduler is.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Waits for what `ask` asks of the scheduler.
    ///
    /// # Errors
    /// What `ask` gives, and what keeps a connection from coming about.
    pub fn call<T, F>(&self, ask: impl FnOnce(Client) -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let live = self.live()?;
        live.runtime.block_on(ask(live.client.clone()))
    }

    /// Waits for what `ask` asks of the scheduler, and looks every [`GLANCE`] whether to go on.
    ///
    /// # Errors
    /// What `go_on` gives; inside, what `ask` gives, and what keeps a connection from coming about.
    pub fn call_while<T, F, E>(
        &self,
        mut go_on: impl FnMut() -> Result<(), E>,
        ask: impl FnOnce(Client) -> F,
    ) -> Result<Result<T, ClientError>, E>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let live = match self.live() {
            Ok(live) => live,
            Err(error) => return Ok(Err(error)),
        };
        live.runtime.block_on(async {
            let mut answer = pin!(ask(live.client.clone()));
            loop {
                match timeout(GLANCE, &mut answer).await {
                    Ok(answer) => return Ok(answer),
                    Err(_) => go_on()?,
                }
            }
        })
    }

    /// Waits for the beginning of an answer in parts.
    ///
    /// # Errors
    /// What `ask` gives, and what keeps a connection from coming about.
    pub fn pages<T, F>(&self, ask: impl FnOnce(Client) -> F) -> Result<Pages<T>, ClientError>
    where
        F: Future<Output = Result<Streaming<T>, ClientError>>,
    {
        let live = self.live()?;
        let stream = live.runtime.block_on(ask(live.client.clone()))?;
        Ok(Pages {
            endpoint: self.target.endpoint().to_owned(),
            source: Source::Stream(Box::new(stream)),
            live,
        })
    }

    /// What a job writes until it has ended.
    ///
    /// # Errors
    /// What keeps a connection from coming about.
    pub fn follow(&self, followed: Followed) -> Result<Pages<v1::LogsResponse>, ClientError> {
        let live = self.live()?;
        let parts = live.runtime.block_on(async { live.client.clone().follow(followed) });
        Ok(Pages { endpoint: self.target.endpoint().to_owned(), source: Source::Parts(parts), live })
    }

    fn live(&self) -> Result<Arc<Live>, ClientError> {
        if let Some(live) = self.held() {
            return Ok(live);
        }
        // Without the lock: a fork meanwhile would leave it locked in the child for ever.
        let runtime = Builder::new_current_thread().enable_all().build().map_err(ClientError::Runtime)?;
        let client = runtime.block_on(Client::connect(&self.target))?;
        let made = Arc::new(Live { process: process::id(), runtime, client });
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&made));
        Ok(made)
    }

    /// This process's connection, where it has one.
    fn held(&self) -> Option<Arc<Live>> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if live.as_ref().is_some_and(|live| live.process != process::id()) {
            // A forked child shares the descriptors of its parent's runtime: taking it apart would disturb the parent.
            std::mem::forget(live.take());
        }
        live.clone()
    }
}

/// The parts of an answer.
#[derive(Debug)]
pub struct Pages<T> {
    live: Arc<Live>,
    endpoint: String,
    source: Source<T>,
}

#[derive(Debug)]
enum Source<T> {
    Stream(Box<Streaming<T>>),
    Parts(mpsc::Receiver<Result<T, ClientError>>),
}

impl<T> Source<T> {
    /// The next part. A wait that is given up loses nothing.
    async fn next(&mut self, endpoint: &str) -> Result<Option<T>, ClientError> {
        match self {
            Self::Stream(stream) => {
                stream.message().await.map_err(|status| ClientError::of_status(endpoint, &status))
            }
            Self::Parts(parts) => parts.recv().await.transpose(),
        }
    }
}

impl<T> Pages<T> {
    /// The next part; None at the end.
    ///
    /// # Errors
    /// A refusal, or what befell the connection.
    pub fn next_page(&mut self) -> Result<Option<T>, ClientError> {
        self.live.runtime.block_on(self.source.next(&self.endpoint))
    }

    /// The next part if it comes within `patience`; the inner None at the end.
    ///
    /// # Errors
    /// A refusal, or what befell the connection.
    pub fn next_page_within(&mut self, patience: Duration) -> Result<Option<Option<T>>, ClientError> {
        let Self { live, endpoint, source } = self;
        live.runtime.block_on(async { timeout(patience, source.next(endpoint)).await.ok() }).transpose()
    }
}
