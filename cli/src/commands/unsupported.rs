//! Flags of docker's that the mesh does not have: taken, so that they can be refused by name with what to do,
//! rather than as a misspelling.

use clap::Args;

use crate::error::CliError;

macro_rules! refused_flags {
    ($(#[$doc:meta])* $name:ident { $($field:ident = $flag:literal $(/ $alias:literal)?),* $(,)? } switches { $($switch:ident = $switch_flag:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Default, Args)]
        pub struct $name {
            $(#[arg(long = $flag, hide = true, value_name = "VALUE", allow_hyphen_values = true $(, short = $alias)?)] $field: Vec<String>,)*
            $(#[arg(long = $switch_flag, hide = true)] $switch: bool,)*
        }

        impl $name {
            /// Refuses the command when one of them is given.
            pub fn check(&self) -> Result<(), CliError> {
                let given = [$((!self.$field.is_empty(), $flag),)* $((self.$switch, $switch_flag),)*];
                match given.iter().find(|(given, _)| *given) {
                    Some((_, flag)) => Err(CliError::Usage(format!(
                        "--{flag} is not supported: leave it out (meshctl --help shows what is)"
                    ))),
                    None => Ok(()),
                }
            }
        }
    };
}

refused_flags! {
    /// Flags of `service create` and `service update`.
    ServiceFlags {
        mount = "mount",
        cap_add = "cap-add", cap_drop = "cap-drop", sysctl = "sysctl", ulimit = "ulimit", dns = "dns",
        dns_option = "dns-option", dns_search = "dns-search", extra_host = "host", group = "group",
        oom_score_adj = "oom-score-adj", isolation = "isolation",
        log_driver = "log-driver", log_opt = "log-opt",
        credential_spec = "credential-spec"
    } switches {
        init = "init", tty = "tty", with_registry_auth = "with-registry-auth"
    }
}

refused_flags! {
    /// Flags of `service update` alone.
    RefusedChanges {
        mount_add = "mount-add", mount_rm = "mount-rm", group_add = "group-add", group_rm = "group-rm",
        host_add = "host-add", host_rm = "host-rm", dns_add = "dns-add", dns_rm = "dns-rm",
        dns_option_add = "dns-option-add", dns_option_rm = "dns-option-rm", dns_search_add = "dns-search-add",
        dns_search_rm = "dns-search-rm", sysctl_add = "sysctl-add", sysctl_rm = "sysctl-rm",
        ulimit_add = "ulimit-add", ulimit_rm = "ulimit-rm"
    } switches {}
}

refused_flags! {
    /// Flags of `network create`.
    NetworkFlags {
        ip_range = "ip-range", aux_address = "aux-address", ipam_driver = "ipam-driver", ipam_opt = "ipam-opt",
        config_from = "config-from"
    } switches { ipv6 = "ipv6", config_only = "config-only" }
}

refused_flags! {
    /// Flags of `secret create` and `config create`.
    ContentFlags { driver = "driver" / 'd', template_driver = "template-driver" } switches {}
}
