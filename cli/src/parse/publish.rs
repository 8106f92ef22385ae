//! `--publish`: `[PUBLISHED:]TARGET[/PROTOCOL]`, ranges too, or `published=,target=,protocol=,mode=`.

use std::ops::RangeInclusive;

use mesh_api::engine::service::PortConfig;

/// Ports that one `--publish` asks for.
pub fn publish(text: &str) -> Result<Vec<PortConfig>, String> {
    let refused = |reason: String| format!("invalid --publish {text:?}: {reason}");
    if text.contains('=') { long(text).map(|port| vec![port]) } else { short(text) }.map_err(refused)
}

fn long(text: &str) -> Result<PortConfig, String> {
    let mut port = PortConfig {
        protocol: "tcp".to_owned(),
        publish_mode: "ingress".to_owned(),
        ..PortConfig::default()
    };
    for (name, value) in super::fields(text)? {
        match name {
            "target" => port.target_port = number(value)?,
            "published" => port.published_port = number(value)?,
            "protocol" => port.protocol = protocol(value)?,
            "mode" if matches!(value, "ingress" | "host") => value.clone_into(&mut port.publish_mode),
            "mode" => {
                return Err(format!("invalid publish mode value {value:?}: ingress or host is expected"));
            }
            other => {
                return Err(format!(
                    "unknown field {other:?}: target, published, protocol and mode are known"
                ));
            }
        }
    }
    if port.target_port == 0 {
        return Err("missing mandatory field target".to_owned());
    }
    Ok(port)
}

fn short(text: &str) -> Result<Vec<PortConfig>, String> {
    let (ports, word) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol(word)?;
    let (published, target) = match ports.rsplit_once(':') {
        Some((published, _)) if published.contains(':') || published.contains('.') => {
            return Err("a host address is not supported: the port answers on every node".to_owned());
        }
        Some((published, target)) => (Some(range(published)?), range(target)?),
        None => (None, range(ports)?),
    };
    if published.as_ref().is_some_and(|published| length(published) != length(&target)) {
        return Err("both ranges must have the same length".to_owned());
    }
    let port = |(place, target)| PortConfig {
        target_port: target,
        published_port: published.as_ref().and_then(|published| published.clone().nth(place)).unwrap_or(0),
        protocol: protocol.clone(),
        publish_mode: "ingress".to_owned(),
        ..PortConfig::default()
    };
    Ok(target.enumerate().map(port).collect())
}

fn length(range: &RangeInclusive<u32>) -> u32 {
    range.end() - range.start()
}

fn protocol(word: &str) -> Result<String, String> {
    match word.to_ascii_lowercase().as_str() {
        word @ ("tcp" | "udp") => Ok(word.to_owned()),
        "sctp" => Err("sctp is not supported: use tcp or udp".to_owned()),
        _ => Err(format!("invalid protocol {word:?}: tcp or udp is expected")),
    }
}

fn range(text: &str) -> Result<RangeInclusive<u32>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(format!("range {text} goes backwards"));
    }
    Ok(first..=last)
}

fn number(text: &str) -> Result<u32, String> {
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(u32::from(port)),
        _ => Err(format!("invalid port {text:?}: a number from 1 to 65535 is expected")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Vec<String>, String> {
        let word = |port: PortConfig| {
            format!("{}:{}/{} {}", port.published_port, port.target_port, port.protocol, port.publish_mode)
        };
        publish(text).map(|ports| ports.into_iter().map(word).collect())
    }

    #[test]
    fn what_docker_takes() {
        for (text, wanted) in [
            ("8080:80", vec!["8080:80/tcp ingress"]),
            ("80", vec!["0:80/tcp ingress"]),
            ("53:53/udp", vec!["53:53/udp ingress"]),
            ("53/UDP", vec!["0:53/udp ingress"]),
            ("8000-8001:80-81", vec!["8000:80/tcp ingress", "8001:81/tcp ingress"]),
            ("target=80", vec!["0:80/tcp ingress"]),
            ("published=8080,target=80,protocol=udp,mode=host", vec!["8080:80/udp host"]),
            ("mode=ingress,target=1,published=65535", vec!["65535:1/tcp ingress"]),
        ] {
            assert_eq!(
                words(text).as_ref().map(Vec::as_slice),
                Ok(wanted.iter().map(|&word| word.to_owned()).collect::<Vec<_>>().as_slice()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_it_does_not() {
        for (text, reason) in [
            ("", "invalid port"),
            ("x:80", "invalid port \"x\""),
            ("80:", "invalid port"),
            ("70000:80", "invalid port \"70000\""),
            ("0:80", "invalid port \"0\""),
            ("80/icmp", "invalid protocol"),
            ("80/sctp", "sctp is not supported"),
            ("127.0.0.1:80:80", "host address is not supported"),
            ("8000-8002:80-81", "same length"),
            ("90-80", "backwards"),
            ("published=80", "missing mandatory field target"),
            ("target=80,mode=magic", "invalid publish mode"),
            ("target=80,colour=red", "unknown field"),
            ("target=80,x", "invalid field"),
        ] {
            let message = words(text).expect_err(text);
            assert!(message.starts_with("invalid --publish") && message.contains(reason), "{message}");
        }
    }
}
