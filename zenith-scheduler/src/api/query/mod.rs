//! Reading more than fits into one turn of the controller: lists in pages, changes as they come. A turn is kept short, so that
//! nobody who submits waits for somebody who looks.

mod list;
mod logs;
mod watch;

pub use self::list::{Filter, Lister, PAGE, States};
pub use self::logs::read_logs;
pub use self::watch::Watcher;
