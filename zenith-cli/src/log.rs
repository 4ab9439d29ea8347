//! The process's log subscriber: `RUST_LOG` decides, stderr receives.

use tracing_subscriber::EnvFilter;

/// Every crate of Zenith, so that `RUST_LOG=zenith=debug` means all of them.
const CRATES: [&str; 5] =
    ["zenith_runtime_cpu", "zenith_data", "zenith_plugin", "zenith_scheduler", "zenith_cli"];

/// Lets `RUST_LOG=zenith=debug` speak to stderr; only warnings without it. Respects a subscriber that is there.
pub fn subscribe() {
    let wanted = std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".to_owned());
    let filter = wanted.split(',').flat_map(directives).collect::<Vec<_>>().join(",");
    let filter = EnvFilter::builder().parse_lossy(filter);
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

fn directives(part: &str) -> Vec<String> {
    match part.trim().strip_prefix("zenith=") {
        Some(level) => CRATES.iter().map(|name| format!("{name}={level}")).collect(),
        None => vec![part.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::directives;

    #[test]
    fn zenith_means_every_crate() {
        assert_eq!(
            directives("zenith=debug"),
            [
                "zenith_runtime_cpu=debug",
                "zenith_data=debug",
                "zenith_plugin=debug",
                "zenith_scheduler=debug",
                "zenith_cli=debug"
            ]
        );
        assert_eq!(directives("hyper=info"), ["hyper=info"]);
    }
}
