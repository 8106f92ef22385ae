//! Image references: what is one, and the tag that is meant when none is written.

/// The longest reference.
const REFERENCE_MAX: usize = 512;

/// A text that is no image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid reference format: {text:?}")]
pub struct ImageError {
    /// What was written, cut to 128 characters.
    pub text: String,
}

/// Checks a reference (`[HOST[:PORT]/]NAME[:TAG][@DIGEST]`) and fills in `:latest` where neither a tag nor
/// a digest is written.
pub fn normalise(text: &str) -> Result<String, ImageError> {
    let refused = || ImageError { text: text.chars().take(128).collect() };
    let (rest, digest) = text.split_once('@').map_or((text, None), |(rest, digest)| (rest, Some(digest)));
    // A colon after the last slash begins a tag; before it, a port.
    let tag_at = rest.rfind(':').filter(|colon| rest.rfind('/').is_none_or(|slash| slash < *colon));
    let (name, tag) = tag_at.map_or((rest, None), |at| (&rest[..at], Some(&rest[at + 1..])));
    let good = text.len() <= REFERENCE_MAX
        && name_is_good(name)
        && tag.is_none_or(tag_is_good)
        && digest.is_none_or(digest_is_good);
    match (good, tag, digest) {
        (false, ..) => Err(refused()),
        (true, None, None) => Ok(format!("{text}:latest")),
        (true, ..) => Ok(text.to_owned()),
    }
}

fn name_is_good(name: &str) -> bool {
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (Some(host), path),
        _ => (None, name),
    };
    host.is_none_or(host_is_good) && path.split('/').all(component_is_good)
}

fn host_is_good(host: &str) -> bool {
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let edges = edge(name.bytes().next()) && edge(name.bytes().last());
    edges && name.bytes().all(inner) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn component_is_good(part: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let inner =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.');
    edge(part.bytes().next()) && edge(part.bytes().last()) && part.bytes().all(inner) && !part.contains("..")
}

fn tag_is_good(tag: &str) -> bool {
    let first = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let inner = |byte: u8| first(byte) || matches!(byte, b'-' | b'.');
    tag.len() <= 128 && tag.bytes().next().is_some_and(first) && tag.bytes().all(inner)
}

fn digest_is_good(digest: &str) -> bool {
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    digest.strip_prefix("sha256:").is_some_and(|rest| rest.len() == 64 && rest.bytes().all(hex))
}

#[cfg(test)]
mod tests {
    use super::normalise;

    #[test]
    fn a_missing_tag_is_latest() {
        let digest = format!("a@sha256:{}", "0".repeat(64));
        for (text, meant) in [
            ("nginx", "nginx:latest"),
            ("mesh/whoami:1", "mesh/whoami:1"),
            ("mesh/whoami", "mesh/whoami:latest"),
            ("localhost:5000/a/b", "localhost:5000/a/b:latest"),
            ("ghcr.io/a/b:v1.2", "ghcr.io/a/b:v1.2"),
            (digest.as_str(), digest.as_str()),
        ] {
            assert_eq!(normalise(text).as_deref(), Ok(meant));
        }
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        let long = "a".repeat(600);
        for text in [
            "",
            ":1",
            "a:",
            "A",
            "a//b",
            "a b",
            "-a",
            "a:b c",
            "a@sha256:1",
            "a/",
            "../a",
            "h:99999/a",
            &long,
        ] {
            assert!(normalise(text).is_err(), "{text}");
        }
    }
}
