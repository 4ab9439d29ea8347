//! Messages to whoever runs the plugin. The host shows a few a second and counts the rest.

/// How important a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Level {
    /// Something is wrong.
    Error = 1,
    /// Something looks wrong.
    Warning = 2,
    /// Something to know.
    Info = 3,
    /// Something for the plugin's author.
    Debug = 4,
}

/// Logs an error. One that stops the plugin is returned instead.
pub fn error(text: &str) {
    log(Level::Error, text);
}

/// Logs a warning.
pub fn warning(text: &str) {
    log(Level::Warning, text);
}

/// Logs something to know.
pub fn info(text: &str) {
    log(Level::Info, text);
}

/// Logs something for the plugin's author.
pub fn debug(text: &str) {
    log(Level::Debug, text);
}

/// Logs a message. Natively, where there is no host, it goes to stderr.
pub fn log(level: Level, text: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::entry::log(level, text);
    #[cfg(not(target_arch = "wasm32"))]
    #[expect(clippy::print_stderr, reason = "a plugin run natively has no host to speak to")]
    {
        eprintln!("{level:?}: {text}");
    }
}
