//! What `meshd` does for the runtime in its `main`, alone: the tests' stand-in for the daemon's binary. With
//! `churn`, also a daemon that does nothing but start and remove tasks, to be killed in the middle of it; with
//! `parent`, `leave` and `pause`, a command that does not end by itself, or whose child does not.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mesh_runtime::error::RuntimeError;
use mesh_runtime::native::{NativeConfig, NativeRuntime};
use mesh_runtime::task::TaskLaunch;

fn main() -> ExitCode {
    if let Some(code) = mesh_runtime::dispatch(std::env::args_os()) {
        return code;
    }
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let [verb] = args.as_slice() {
        return match verb.to_str() {
            Some("parent") => parent(),
            Some("leave") => leave(),
            Some("pause") => pause(),
            _ => usage(),
        };
    }
    let [verb, dir, prefix, launches] = args.as_slice() else { return usage() };
    let (Some("churn"), Some(prefix), Some(launches)) = (verb.to_str(), prefix.to_str(), launches.to_str())
    else {
        return usage();
    };
    let Ok(launches) = serde_json::from_str(launches) else { return usage() };
    match churn(Path::new(dir), prefix, launches) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("runtime-shim: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Waits for a child that does not end.
fn parent() -> ExitCode {
    match lasting().and_then(|mut child| child.wait()) {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Leaves behind a child that does not end.
fn leave() -> ExitCode {
    if lasting().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn lasting() -> std::io::Result<std::process::Child> {
    std::process::Command::new("/proc/self/exe").arg("pause").process_group(0).spawn()
}

fn pause() -> ExitCode {
    loop {
        nix::unistd::pause();
    }
}

fn usage() -> ExitCode {
    eprintln!(
        "usage: runtime-shim shim|whoami ... | parent | leave | pause | churn DIR CGROUP-PREFIX LAUNCHES-AS-JSON"
    );
    ExitCode::from(64)
}

fn churn(
    dir: &Path,
    prefix: &str,
    launches: Vec<TaskLaunch>,
) -> Result<std::convert::Infallible, Box<dyn std::error::Error>> {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    tokio.block_on(async {
        let runtime = NativeRuntime::open(NativeConfig {
            run_dir: dir.join("run"),
            data_dir: dir.join("data"),
            cgroup_prefix: prefix.to_owned(),
            exe: PathBuf::from("/proc/self/exe"),
        })
        .await?;
        for found in runtime.adopt().await {
            runtime.remove(&found.launch.id).await?;
        }
        let mut lives = tokio::task::JoinSet::new();
        for launch in launches {
            let runtime = runtime.clone();
            lives.spawn(async move {
                loop {
                    if let Err(error) = live(&runtime, &launch).await {
                        return error;
                    }
                }
            });
        }
        match lives.join_next().await {
            Some(error) => Err(error?.into()),
            None => Err("nothing to do".into()),
        }
    })
}

async fn live(runtime: &NativeRuntime, launch: &TaskLaunch) -> Result<(), RuntimeError> {
    runtime.prepare(launch).await?;
    runtime.start(&launch.id).await?;
    runtime.stop(&launch.id).await?;
    runtime.remove(&launch.id).await
}
