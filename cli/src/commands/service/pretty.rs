//! A service for people, as docker's `inspect --pretty` sets it.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::Timestamp;
use mesh_api::engine::service::{
    ContainerSpec, Endpoint, JobStatus, Placement, ResourceAmount, Service, ServiceMode, TaskSpec,
    UpdateConfig, UpdateStatus,
};

use super::flags::health;
use crate::output::words::{go_duration, human_size, since};

/// The service, as it is `now`; `networks` has names by id.
pub fn pretty(service: &Service, networks: &BTreeMap<String, String>, now: Timestamp) -> String {
    let mut page = Page(String::new());
    let spec = &service.spec;
    page.line(&format!("\nID:\t\t{}", service.id));
    page.line(&format!("Name:\t\t{}", spec.name));
    page.pairs("Labels:", &spec.labels);
    page.mode(spec.mode.as_ref());
    page.job(service.job_status.as_ref(), now);
    page.update(service.update_status.as_ref(), now);
    let task = &spec.task_template;
    page.placement(task.placement.as_ref());
    page.replacement("UpdateConfig:", "Update order:", spec.update_config.as_ref());
    page.replacement("RollbackConfig:", "Rollback order:", spec.rollback_config.as_ref());
    page.process(task.container_spec.as_ref());
    page.files(task.container_spec.as_ref());
    page.resources(task);
    page.endpoint(task, &service.endpoint, networks);
    page.0
}

/// Text that grows.
struct Page(String);

impl Page {
    fn line(&mut self, text: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{text}");
    }

    fn pairs(&mut self, heading: &str, pairs: &BTreeMap<String, String>) {
        if !pairs.is_empty() {
            self.line(heading);
        }
        for (key, value) in pairs {
            self.line(&format!(" {key}={value}"));
        }
    }

    fn mode(&mut self, mode: Option<&ServiceMode>) {
        let Some(mode) = mode else { return };
        if let Some(replicated) = mode.replicated {
            self.line("Service Mode:\tReplicated");
            self.line(&format!(" Replicas:\t{}", replicated.replicas.unwrap_or(1)));
        } else if let Some(job) = mode.replicated_job {
            self.line("Service Mode:\tReplicated Job");
            self.line(&format!(" Max Concurrent:\t{}", job.max_concurrent.unwrap_or(1)));
            self.line(&format!(" Total Completions:\t{}", job.total_completions.unwrap_or(1)));
        } else if mode.global_job.is_some() {
            self.line("Service Mode:\tGlobal Job");
        } else {
            self.line("Service Mode:\tGlobal");
        }
    }

    fn job(&mut self, job: Option<&JobStatus>, now: Timestamp) {
        let Some(job) = job else { return };
        self.line("JobStatus:");
        self.line(&format!(" Iteration:\t{}", job.job_iteration.index));
        self.line(&format!(" Last Execution:\t{}", since(&job.last_execution, now)));
    }

    fn update(&mut self, update: Option<&UpdateStatus>, now: Timestamp) {
        let Some(update) = update.filter(|update| !update.state.is_empty()) else { return };
        self.line("UpdateStatus:");
        self.line(&format!(" State:\t\t{}", update.state));
        if let Some(started) = &update.started_at {
            self.line(&format!(" Started:\t{}", since(started, now)));
        }
        // What went back has its end in the message.
        if let Some(completed) = update.completed_at.as_ref().filter(|_| update.state == "completed") {
            self.line(&format!(" Completed:\t{}", since(completed, now)));
        }
        self.line(&format!(" Message:\t{}", update.message));
    }

    fn placement(&mut self, placement: Option<&Placement>) {
        self.line("Placement:");
        let Some(placement) = placement else { return };
        if !placement.constraints.is_empty() {
            self.line(&format!(" Constraints:\t[{}]", placement.constraints.join(" ")));
        }
        let labels: Vec<_> = placement
            .preferences
            .iter()
            .filter_map(|preference| preference.spread.as_ref())
            .map(|spread| format!("spread={}", spread.spread_descriptor))
            .collect();
        if !labels.is_empty() {
            self.line(&format!(" Preferences:   [{}]", labels.join(" ")));
        }
        if placement.max_replicas > 0 {
            self.line(&format!(" Max Replicas Per Node:   {}", placement.max_replicas));
        }
    }

    fn replacement(&mut self, heading: &str, order: &str, config: Option<&UpdateConfig>) {
        let Some(config) = config else { return };
        self.line(&format!("{heading}\n Parallelism:\t{}", config.parallelism));
        if config.delay > 0 {
            self.line(&format!(" Delay:\t\t{}", go_duration(config.delay)));
        }
        self.line(&format!(" On failure:\t{}", config.failure_action));
        if config.monitor > 0 {
            self.line(&format!(" Monitoring Period: {}", go_duration(config.monitor)));
        }
        self.line(&format!(" Max failure ratio: {}", config.max_failure_ratio));
        self.line(&format!(" {order:<18} {}", config.order));
    }

    fn process(&mut self, process: Option<&ContainerSpec>) {
        self.line("ContainerSpec:");
        let Some(process) = process else { return };
        self.line(&format!(" Image:\t\t{}", process.image));
        let command = process.command.join(" ");
        let args = process.args.join(" ");
        let env = process.env.join(" ");
        for (name, value) in [
            (" Command:\t", &command),
            (" Args:\t\t", &args),
            (" Env:\t\t", &env),
            (" Dir:\t\t", &process.dir),
            (" User:\t\t", &process.user),
            (" Hostname:\t", &process.hostname),
            (" StopSignal:\t", &process.stop_signal),
        ] {
            if !value.is_empty() {
                self.line(&format!("{name}{value}"));
            }
        }
        if let Some(probe) = health::words(process) {
            self.line(&format!(" Healthcheck:\t{probe}"));
        }
        if let Some(grace) = process.stop_grace_period {
            self.line(&format!(" StopGracePeriod: {}", go_duration(grace)));
        }
        if process.read_only {
            self.line(" ReadOnly:\ttrue");
        }
    }

    fn files(&mut self, process: Option<&ContainerSpec>) {
        let Some(process) = process else { return };
        let configs = process.configs.iter().flatten().map(|it| (it.file.as_ref(), &it.config_name));
        let secrets = process.secrets.iter().flatten().map(|it| (it.file.as_ref(), &it.secret_name));
        for (heading, files) in [("Configs:", configs.collect::<Vec<_>>()), ("Secrets:", secrets.collect())] {
            if !files.is_empty() {
                self.line(heading);
            }
            for (file, name) in files {
                self.line(&format!(" Target:\t{}", file.map(|file| file.name.as_str()).unwrap_or_default()));
                self.line(&format!("  Source:\t{name}"));
            }
        }
    }

    fn resources(&mut self, task: &TaskSpec) {
        self.line("Resources:");
        let Some(resources) = &task.resources else { return };
        self.amount(" Reservations:", resources.reservations.as_ref());
        self.amount(" Limits:", resources.limits.as_ref());
    }

    fn amount(&mut self, heading: &str, amount: Option<&ResourceAmount>) {
        let Some(amount) = amount.filter(|amount| **amount != ResourceAmount::default()) else { return };
        self.line(heading);
        if amount.nano_cpus > 0 {
            let fraction = format!("{:09}", amount.nano_cpus % 1_000_000_000);
            let fraction = fraction.trim_end_matches('0');
            let point = if fraction.is_empty() { "" } else { "." };
            self.line(&format!("  CPU:\t\t{}{point}{fraction}", amount.nano_cpus / 1_000_000_000));
        }
        if amount.memory_bytes > 0 {
            self.line(&format!("  Memory:\t{}", human_size(amount.memory_bytes.unsigned_abs())));
        }
        if amount.pids > 0 {
            self.line(&format!("  PIDs:\t\t{}", amount.pids));
        }
    }

    fn endpoint(&mut self, task: &TaskSpec, endpoint: &Endpoint, networks: &BTreeMap<String, String>) {
        let name = |id: &String| networks.get(id).unwrap_or(id).clone();
        let joined: Vec<_> = task.networks.iter().flatten().map(|network| name(&network.target)).collect();
        if !joined.is_empty() {
            self.line(&format!("Networks: {}", joined.join(" ")));
        }
        self.line(&format!("Endpoint Mode:\t{}", endpoint.spec.mode));
        for vip in &endpoint.virtual_ips {
            self.line(&format!(" VIP: {} on {}", vip.addr, name(&vip.network_id)));
        }
        if !endpoint.ports.is_empty() {
            self.line("Ports:");
        }
        for port in &endpoint.ports {
            self.line(&format!(" PublishedPort = {}", port.published_port));
            self.line(&format!("  Protocol = {}", port.protocol));
            self.line(&format!("  TargetPort = {}", port.target_port));
            self.line(&format!("  PublishMode = {}", port.publish_mode));
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::decode::decode;

    use super::*;

    #[test]
    fn a_service_on_a_page() {
        let service = r#"{"ID":"s1","Spec":{"Name":"web","Labels":{"a":"b"},"TaskTemplate":{"ContainerSpec":{"Image":
            "mesh/whoami:1","Args":["a"]},"Resources":{"Limits":{"NanoCPUs":500000000,"MemoryBytes":67108864}},
            "Placement":{"Constraints":["node.role==worker"]},"Networks":[{"Target":"n1"}]},"Mode":{"Replicated":
            {"Replicas":3}},"UpdateConfig":{"Parallelism":1,"FailureAction":"pause","Monitor":5000000000,
            "Order":"stop-first"}},"Endpoint":{"Spec":{"Mode":"vip"},"Ports":[{"Protocol":"tcp","TargetPort":80,
            "PublishedPort":8080,"PublishMode":"ingress"}],"VirtualIPs":[{"NetworkID":"n1","Addr":"10.0.1.2/24"}]},
            "UpdateStatus":{"State":"completed","StartedAt":"2026-01-01T00:00:00Z","CompletedAt":
            "2026-01-01T00:08:59Z","Message":"update completed"}}"#;
        let service: Service = decode(service.as_bytes()).unwrap();
        let names = BTreeMap::from([("n1".to_owned(), "back".to_owned())]);
        assert_eq!(
            pretty(&service, &names, "2026-01-01T00:10:00Z".parse().unwrap()),
            "\nID:\t\ts1\nName:\t\tweb\nLabels:\n a=b\nService Mode:\tReplicated\n Replicas:\t3\nUpdateStatus:\n \
             State:\t\tcompleted\n Started:\t10 minutes ago\n Completed:\tAbout a minute ago\n Message:\tupdate \
             completed\nPlacement:\n \
             Constraints:\t[node.role==worker]\nUpdateConfig:\n Parallelism:\t1\n On failure:\tpause\n Monitoring \
             Period: 5s\n Max failure ratio: 0\n Update order:      stop-first\nContainerSpec:\n \
             Image:\t\tmesh/whoami:1\n Args:\t\ta\nResources:\n Limits:\n  CPU:\t\t0.5\n  Memory:\t64MiB\nNetworks: \
             back\nEndpoint Mode:\tvip\n VIP: 10.0.1.2/24 on back\nPorts:\n PublishedPort = 8080\n  Protocol = tcp\n  \
             TargetPort = 80\n  PublishMode = ingress\n"
        );
    }

    #[test]
    fn a_job_says_which_run_it_is() {
        let job = r#"{"ID":"s1","Spec":{"Name":"job","Mode":{"ReplicatedJob":{"MaxConcurrent":2,"TotalCompletions":9}}},
            "JobStatus":{"JobIteration":{"Index":3},"LastExecution":"2026-01-01T00:00:00Z"}}"#;
        let job: Service = decode(job.as_bytes()).unwrap();
        let page = pretty(&job, &BTreeMap::new(), "2026-01-01T00:00:05Z".parse().unwrap());
        assert!(
            page.contains(
                "\nService Mode:\tReplicated Job\n Max Concurrent:\t2\n Total Completions:\t9\nJobStatus:\n \
                 Iteration:\t3\n Last Execution:\t5 seconds ago\nPlacement:\n"
            ),
            "{page}"
        );
    }
}
