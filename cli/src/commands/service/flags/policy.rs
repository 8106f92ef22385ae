//! What a task may use, when it is started again, how tasks are replaced.

use clap::Args;
use mesh_api::engine::service::{ResourceAmount, Resources, RestartPolicy, ServiceSpec, UpdateConfig};

use crate::parse::units;

/// What a task may use.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Resources")]
pub struct ResourceFlags {
    /// Most CPUs, as in 0.5
    #[arg(long, value_name = "CPUS", value_parser = units::cpus)]
    limit_cpu: Option<i64>,
    /// Most memory, as in 64m
    #[arg(long, value_name = "BYTES", value_parser = units::memory)]
    limit_memory: Option<i64>,
    /// Most processes; 0 is unlimited
    #[arg(long, value_name = "NUMBER")]
    limit_pids: Option<i64>,
    /// CPUs that must be free on a node
    #[arg(long, value_name = "CPUS", value_parser = units::cpus)]
    reserve_cpu: Option<i64>,
    /// Memory that must be free on a node
    #[arg(long, value_name = "BYTES", value_parser = units::memory)]
    reserve_memory: Option<i64>,
}

/// When a task is started again.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Restart")]
pub struct RestartFlags {
    /// After which endings: none, on-failure, any [default: any]
    #[arg(id = "restart-condition", long = "restart-condition", value_name = "WORD", value_parser = ["none", "on-failure", "any"])]
    condition: Option<String>,
    /// Wait before the replacement starts [default: 5s]
    #[arg(id = "restart-delay", long = "restart-delay", value_name = "DURATION", value_parser = units::duration)]
    delay: Option<i64>,
    /// Most restarts within the window; 0 is unlimited
    #[arg(id = "restart-max-attempts", long = "restart-max-attempts", value_name = "NUMBER")]
    max_attempts: Option<u64>,
    /// Time in which restarts are counted
    #[arg(id = "restart-window", long = "restart-window", value_name = "DURATION", value_parser = units::duration)]
    window: Option<i64>,
}

macro_rules! replacement_flags {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $($action:literal)|+) => {
        $(#[$doc])*
        #[derive(Debug, Default, Args)]
        pub struct $name {
            /// Slots at once; 0 is all [default: 1]
            #[arg(id = concat!($prefix, "-parallelism"), long = concat!($prefix, "-parallelism"), value_name = "NUMBER")]
            parallelism: Option<u64>,
            /// Wait between batches [default: 0s]
            #[arg(id = concat!($prefix, "-delay"), long = concat!($prefix, "-delay"), value_name = "DURATION", value_parser = units::duration)]
            delay: Option<i64>,
            /// How long a new task is watched [default: 5s]
            #[arg(id = concat!($prefix, "-monitor"), long = concat!($prefix, "-monitor"), value_name = "DURATION", value_parser = units::duration)]
            monitor: Option<i64>,
            /// What a failure does [default: pause]
            #[arg(id = concat!($prefix, "-failure-action"), long = concat!($prefix, "-failure-action"), value_name = "WORD", value_parser = [$($action),+])]
            failure_action: Option<String>,
            /// Share of failures that is tolerated [default: 0]
            #[arg(id = concat!($prefix, "-max-failure-ratio"), long = concat!($prefix, "-max-failure-ratio"), value_name = "RATIO")]
            max_failure_ratio: Option<f32>,
            /// Which task goes first [default: stop-first]
            #[arg(id = concat!($prefix, "-order"), long = concat!($prefix, "-order"), value_name = "WORD", value_parser = ["stop-first", "start-first"])]
            order: Option<String>,
        }

        impl $name {
            /// The configuration with what was given; `None` when there is none and nothing was given.
            pub fn change(&self, known: Option<UpdateConfig>) -> Option<UpdateConfig> {
                let given = self.parallelism.is_some()
                    || self.delay.is_some()
                    || self.monitor.is_some()
                    || self.failure_action.is_some()
                    || self.max_failure_ratio.is_some()
                    || self.order.is_some();
                if !given {
                    return known;
                }
                let mut config = known.unwrap_or(UpdateConfig { parallelism: 1, ..UpdateConfig::default() });
                config.parallelism = self.parallelism.unwrap_or(config.parallelism);
                config.delay = self.delay.unwrap_or(config.delay);
                config.monitor = self.monitor.unwrap_or(config.monitor);
                config.max_failure_ratio = self.max_failure_ratio.unwrap_or(config.max_failure_ratio);
                if let Some(action) = &self.failure_action {
                    config.failure_action.clone_from(action);
                }
                if let Some(order) = &self.order {
                    config.order.clone_from(order);
                }
                Some(config)
            }
        }
    };
}

replacement_flags! {
    /// How tasks are replaced when the spec changes.
    UpdateFlags, "update", "pause" | "continue" | "rollback"
}

replacement_flags! {
    /// How tasks are replaced when an update is rolled back.
    RollbackFlags, "rollback", "pause" | "continue"
}

/// All of these, as both commands have them.
#[derive(Debug, Default, Args)]
pub struct PolicyFlags {
    #[command(flatten)]
    resources: ResourceFlags,
    #[command(flatten)]
    restart: RestartFlags,
    #[command(flatten, next_help_heading = "Update")]
    update: UpdateFlags,
    #[command(flatten, next_help_heading = "Rollback")]
    rollback: RollbackFlags,
}

impl PolicyFlags {
    /// Writes what was given into the spec.
    pub fn change(&self, spec: &mut ServiceSpec) {
        let task = &mut spec.task_template;
        self.resources.change(&mut task.resources);
        self.restart.change(&mut task.restart_policy);
        spec.update_config = self.update.change(spec.update_config.take());
        spec.rollback_config = self.rollback.change(spec.rollback_config.take());
    }
}

impl ResourceFlags {
    fn change(&self, resources: &mut Option<Resources>) {
        let limited = self.limit_cpu.is_some() || self.limit_memory.is_some() || self.limit_pids.is_some();
        if limited {
            let limits = resources.get_or_insert_default().limits.get_or_insert_default();
            set(&mut limits.nano_cpus, self.limit_cpu);
            set(&mut limits.memory_bytes, self.limit_memory);
            set(&mut limits.pids, self.limit_pids);
        }
        if self.reserve_cpu.is_some() || self.reserve_memory.is_some() {
            let reserved: &mut ResourceAmount =
                resources.get_or_insert_default().reservations.get_or_insert_default();
            set(&mut reserved.nano_cpus, self.reserve_cpu);
            set(&mut reserved.memory_bytes, self.reserve_memory);
        }
    }
}

impl RestartFlags {
    fn change(&self, policy: &mut Option<RestartPolicy>) {
        let timed = self.delay.is_some() || self.window.is_some();
        if self.condition.is_none() && self.max_attempts.is_none() && !timed {
            return;
        }
        let policy = policy.get_or_insert_default();
        if let Some(condition) = &self.condition {
            policy.condition.clone_from(condition);
        }
        policy.delay = self.delay.or(policy.delay);
        policy.max_attempts = self.max_attempts.or(policy.max_attempts);
        policy.window = self.window.or(policy.window);
    }
}

fn set(place: &mut i64, given: Option<i64>) {
    *place = given.unwrap_or(*place);
}
