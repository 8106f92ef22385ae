//! The process of a task, and what it may use.

use std::str::FromStr;

use mesh_api::engine::says_nothing;
use mesh_api::engine::service::{
    ContainerSpec as WireContainer, ResourceAmount as WireAmount, Resources as WireResources,
};
use mesh_core::name;
use mesh_core::spec::{ContainerSpec, ResourceAmount, Resources};

use super::super::error::ApiError;
use super::{content, generic, health, labels, nanos, process_text, span};

const FIELD: &str = "TaskTemplate.ContainerSpec";

/// Least CPU that can be limited to, in 10⁻⁹ cores.
const CPU_MIN: i64 = 1_000_000;

/// Least memory that can be limited to, in bytes.
const MEMORY_MIN: i64 = 4 * 1024 * 1024;

/// The process.
pub fn container(wire: &WireContainer) -> Result<ContainerSpec, ApiError> {
    refuse_unsupported(wire)?;
    for (list, name) in [(&wire.command, "Command"), (&wire.args, "Args")] {
        for (at, text) in list.iter().enumerate() {
            process_text(&format!("{FIELD}.{name}[{at}]"), text)?;
        }
    }
    let (health, plain) = health::read(wire)?;
    Ok(ContainerSpec {
        image: image(&wire.image)?,
        command: wire.command.clone(),
        args: wire.args.clone(),
        env: environment(&wire.env)?,
        labels: labels(&format!("{FIELD}.Labels"), &plain)?,
        hostname: hostname(&wire.hostname)?,
        dir: directory(&wire.dir)?,
        user: user(&wire.user)?,
        stop_signal: stop_signal(&wire.stop_signal)?,
        stop_grace_period: wire
            .stop_grace_period
            .map(|nanos| span(&format!("{FIELD}.StopGracePeriod"), nanos))
            .transpose()?,
        read_only: wire.read_only,
        secrets: content::secrets(&format!("{FIELD}.Secrets"), wire.secrets.as_deref().unwrap_or_default())?,
        configs: content::configs(&format!("{FIELD}.Configs"), wire.configs.as_deref().unwrap_or_default())?,
        health,
    })
}

/// The process, as the API shows it.
pub fn show(container: &ContainerSpec) -> WireContainer {
    WireContainer {
        image: container.image.clone(),
        labels: health::show_labels(container),
        command: container.command.clone(),
        args: container.args.clone(),
        hostname: container.hostname.clone().unwrap_or_default(),
        env: container.env.clone(),
        dir: container.dir.clone().unwrap_or_default(),
        user: container.user.clone().unwrap_or_default(),
        stop_signal: container.stop_signal.clone().unwrap_or_default(),
        stop_grace_period: container.stop_grace_period.map(nanos),
        read_only: container.read_only,
        secrets: some(content::show_secrets(&container.secrets)),
        configs: some(content::show_configs(&container.configs)),
        healthcheck: health::show(&container.health),
        ..WireContainer::default()
    }
}

/// A list, when there is something in it.
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn image(reference: &str) -> Result<String, ApiError> {
    mesh_core::image::normalise(reference)
        .map_err(|error| ApiError::field(format!("{FIELD}.Image"), error.to_string()))
}

fn refuse_unsupported(wire: &WireContainer) -> Result<(), ApiError> {
    for (name, value) in wire.raw_fields() {
        if value.is_some_and(|value| !says_nothing(value)) {
            return Err(ApiError::unsupported(format!("{FIELD}.{name}"), "leave it out"));
        }
    }
    if wire.init == Some(true) {
        return Err(ApiError::unsupported(format!("{FIELD}.Init"), "leave it out"));
    }
    if !matches!(wire.isolation.as_str(), "" | "default") {
        return Err(ApiError::unsupported(format!("{FIELD}.Isolation"), "it is for Windows"));
    }
    Ok(())
}

fn no_template(field: &str, text: &str) -> Result<(), ApiError> {
    if text.contains("{{") {
        return Err(ApiError::unsupported(field, "templates ({{…}}) are not filled in"));
    }
    process_text(field, text)
}

fn environment(env: &[String]) -> Result<Vec<String>, ApiError> {
    for (at, entry) in env.iter().enumerate() {
        let field = format!("{FIELD}.Env[{at}]");
        no_template(&field, entry)?;
        match entry.split_once('=') {
            Some((key, _)) if !key.is_empty() => {}
            _ => return Err(ApiError::field(field, format!("{entry:?}: KEY=value is expected"))),
        }
    }
    Ok(env.to_vec())
}

fn hostname(text: &str) -> Result<Option<String>, ApiError> {
    let field = format!("{FIELD}.Hostname");
    no_template(&field, text)?;
    if text.is_empty() {
        return Ok(None);
    }
    if !name::is_container_hostname(text) {
        return Err(ApiError::field(field, format!("{text:?} is no host name")));
    }
    Ok(Some(text.to_owned()))
}

fn directory(text: &str) -> Result<Option<String>, ApiError> {
    let field = format!("{FIELD}.Dir");
    process_text(&field, text)?;
    match text {
        "" => Ok(None),
        path if path.starts_with('/') => Ok(Some(path.to_owned())),
        path => Err(ApiError::field(field, format!("{path:?}: an absolute path is expected"))),
    }
}

fn user(text: &str) -> Result<Option<String>, ApiError> {
    let part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'$'))
    };
    let mut parts = text.splitn(2, ':');
    match text {
        "" => Ok(None),
        _ if parts.all(part) => Ok(Some(text.to_owned())),
        _ => Err(ApiError::field(
            format!("{FIELD}.User"),
            format!("{text:?}: a user, or USER:GROUP, by name or number is expected"),
        )),
    }
}

fn stop_signal(text: &str) -> Result<Option<String>, ApiError> {
    use nix::sys::signal::Signal;
    if text.is_empty() {
        return Ok(None);
    }
    let upper = text.to_ascii_uppercase();
    let named = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    let by_number = text.parse::<i32>().ok().and_then(|number| Signal::try_from(number).ok());
    by_number
        .or_else(|| Signal::from_str(&named).ok())
        .map(|signal| Some(signal.as_str().to_owned()))
        .ok_or_else(|| ApiError::field(format!("{FIELD}.StopSignal"), format!("{text:?} is no signal")))
}

/// Limits and reservations.
pub fn resources(wire: &WireResources) -> Result<Resources, ApiError> {
    let none = WireAmount::default();
    let limits = wire.limits.as_ref().unwrap_or(&none);
    let reservations = wire.reservations.as_ref().unwrap_or(&none);
    if reservations.pids != 0 {
        return Err(ApiError::field(
            "TaskTemplate.Resources.Reservations.Pids",
            "processes can be limited only",
        ));
    }
    if !limits.generic_resources.is_empty() {
        return Err(ApiError::field(
            "TaskTemplate.Resources.Limits.GenericResources",
            "generic resources can be reserved only",
        ));
    }
    let pids_limit = u64::try_from(limits.pids).map_err(|_| {
        ApiError::field("TaskTemplate.Resources.Limits.Pids", format!("{} is negative", limits.pids))
    })?;
    let resources = Resources {
        limits: amount("TaskTemplate.Resources.Limits", limits)?,
        pids_limit,
        reservations: amount("TaskTemplate.Resources.Reservations", reservations)?,
        generic: generic::reserved(&reservations.generic_resources)?,
    };
    check_order(&resources)?;
    Ok(resources)
}

fn check_order(resources: &Resources) -> Result<(), ApiError> {
    let (limits, reserved) = (resources.limits, resources.reservations);
    let above = |limit: u64, reserved: u64| limit != 0 && reserved > limit;
    let field = if above(limits.nano_cpus, reserved.nano_cpus) {
        "NanoCPUs"
    } else if above(limits.memory_bytes, reserved.memory_bytes) {
        "MemoryBytes"
    } else {
        return Ok(());
    };
    Err(ApiError::field(
        format!("TaskTemplate.Resources.Reservations.{field}"),
        "more than the limit is reserved",
    ))
}

fn amount(field: &str, wire: &WireAmount) -> Result<ResourceAmount, ApiError> {
    let cpus = wire.nano_cpus;
    if cpus != 0 && cpus < CPU_MIN {
        let reason = format!("invalid cpu value {cpus} (10⁻⁹ cores): Must be at least 0.001");
        return Err(ApiError::field(format!("{field}.NanoCPUs"), reason));
    }
    let memory = wire.memory_bytes;
    if memory != 0 && memory < MEMORY_MIN {
        let reason = format!("invalid memory value {memory}: Must be at least 4MiB");
        return Err(ApiError::field(format!("{field}.MemoryBytes"), reason));
    }
    Ok(ResourceAmount { nano_cpus: cpus.unsigned_abs(), memory_bytes: memory.unsigned_abs() })
}

/// Limits and reservations, as the API shows them.
pub fn show_resources(resources: &Resources) -> WireResources {
    WireResources {
        limits: Some(WireAmount {
            pids: i64::try_from(resources.pids_limit).unwrap_or(i64::MAX),
            ..show_amount(resources.limits)
        }),
        reservations: Some(WireAmount {
            generic_resources: generic::show_reserved(&resources.generic),
            ..show_amount(resources.reservations)
        }),
    }
}

/// An amount, as the API shows it.
pub fn show_amount(amount: ResourceAmount) -> WireAmount {
    WireAmount {
        nano_cpus: i64::try_from(amount.nano_cpus).unwrap_or(i64::MAX),
        memory_bytes: i64::try_from(amount.memory_bytes).unwrap_or(i64::MAX),
        ..WireAmount::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl FnOnce(&mut WireContainer)) -> String {
        let mut wire = WireContainer { image: "mesh/whoami:1".to_owned(), ..WireContainer::default() };
        change(&mut wire);
        container(&wire).expect_err("refused").to_string()
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        let json = |text: &str| Some(serde_json::from_str(text).unwrap());
        for (message, field) in [
            (refusal(|wire| wire.mounts = json(r#"[{"Target":"/v"}]"#)), "Mounts"),
            (refusal(|wire| wire.tty = json("true")), "TTY"),
            (refusal(|wire| wire.dns_config = json(r#"{"Search":["x"]}"#)), "DNSConfig"),
            (refusal(|wire| wire.init = Some(true)), "Init"),
            (refusal(|wire| wire.env = vec!["A={{.Task.Slot}}".to_owned()]), "Env[0]"),
        ] {
            assert!(message.starts_with(&format!("{FIELD}.{field} is not supported")), "{message}");
        }
    }

    #[test]
    fn empty_objects_of_the_docker_cli_say_nothing() {
        let mut wire = WireContainer { image: "a".to_owned(), init: Some(false), ..WireContainer::default() };
        wire.dns_config = Some(serde_json::json!({}));
        assert!(container(&wire).is_ok());
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        for (message, field) in [
            (refusal(|wire| wire.image = "A B".to_owned()), "Image"),
            (refusal(|wire| wire.env = vec!["novalue".to_owned()]), "Env[0]"),
            (refusal(|wire| wire.args = vec!["a\0b".to_owned()]), "Args[0]"),
            (refusal(|wire| wire.hostname = "-x".to_owned()), "Hostname"),
            (refusal(|wire| wire.hostname = "x_".to_owned()), "Hostname"),
            (refusal(|wire| wire.hostname = "x".repeat(64)), "Hostname"),
            (refusal(|wire| wire.dir = "rel".to_owned()), "Dir"),
            (refusal(|wire| wire.user = "a:b:c".to_owned()), "User"),
            (refusal(|wire| wire.stop_signal = "SIGWHAT".to_owned()), "StopSignal"),
            (refusal(|wire| wire.stop_grace_period = Some(-5)), "StopGracePeriod"),
        ] {
            assert!(message.starts_with(&format!("invalid value for {FIELD}.{field}: ")), "{message}");
        }
    }

    #[test]
    fn signals_by_any_of_their_names() {
        for text in ["SIGINT", "int", "2"] {
            assert_eq!(stop_signal(text).unwrap().as_deref(), Some("SIGINT"), "{text}");
        }
    }

    #[test]
    fn resources_have_floors_and_an_order() {
        let both = |limit: WireAmount, reserved: WireAmount| {
            resources(&WireResources { limits: Some(limit), reservations: Some(reserved) })
        };
        let memory = |bytes| WireAmount { memory_bytes: bytes, ..WireAmount::default() };
        let cpu = |nanos| WireAmount { nano_cpus: nanos, ..WireAmount::default() };
        assert!(both(memory(MEMORY_MIN), memory(MEMORY_MIN)).is_ok());
        assert!(both(memory(MEMORY_MIN - 1), memory(0)).is_err());
        assert!(both(memory(MEMORY_MIN), memory(MEMORY_MIN + 1)).is_err());
        assert!(both(cpu(-1), cpu(0)).is_err());
        assert!(both(cpu(CPU_MIN), cpu(0)).is_ok());
    }
}
