//! The native runtime: each task a process of this host in namespaces and a cgroup of its own.
//!
//! What is known of a task is on disk (module `state`) before anything is done, so a daemon that is killed
//! at any moment finds it again; what it finds half-made it removes. A task's shim ([`crate::shim`]) is its
//! parent; the daemon waits for the shim by a pidfd, its own child or not, and never polls.

mod netns;
mod place;
mod probe;
mod recover;
mod spawn;
mod watch;

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use mesh_core::id::TaskId;
use tokio::sync::{mpsc, watch as state};
use tokio::time::timeout;

use self::place::{KILL_LIMIT, Places};
use self::watch::Watcher;
use crate::error::RuntimeError;
use crate::sockets::Connections;
use crate::state::{Record, StopMark};
use crate::sys;
use crate::task::{Found, Prepared, RunState, RuntimeEvent, TaskLaunch};

/// Events that may wait for a slow reader before tasks' watchers wait for it.
const EVENTS_WAITING: usize = 256;
/// Exit status of a task whose real one nobody saw: it was killed.
const KILLED: i32 = 128 + nix::libc::SIGKILL;

/// Where the runtime keeps things.
#[derive(Debug, Clone)]
pub struct NativeConfig {
    /// For what is gone after a reboot: namespaces, state of running tasks (`/run/mesh`). Shared with others;
    /// the runtime uses `netns/` and `tasks/` in it.
    pub run_dir: PathBuf,
    /// For what is large: image layers and the writable layers of tasks (`/var/lib/mesh/native`). The
    /// runtime's own.
    pub data_dir: PathBuf,
    /// Cgroup below the root of each hierarchy that holds one cgroup for each task, without a leading slash.
    /// No other daemon of this machine may use the same.
    pub cgroup_prefix: String,
    /// The binary that is re-executed as shim and that the built-in images contain; `/proc/self/exe` in the
    /// daemon.
    pub exe: PathBuf,
}

/// Standard streams of a command that is run in a task.
#[derive(Debug)]
pub struct ExecStdio {
    /// Standard input.
    pub stdin: Stdio,
    /// Standard output.
    pub stdout: Stdio,
    /// Standard error.
    pub stderr: Stdio,
}

/// The native runtime of one node; clones are the same runtime. Dropping the last leaves the tasks running.
#[derive(Debug, Clone)]
pub struct NativeRuntime {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: NativeConfig,
    places: Places,
    tasks: Mutex<HashMap<TaskId, Arc<Entry>>>,
    turns: Mutex<HashMap<TaskId, Weak<Turn>>>,
    listeners: Mutex<Vec<mpsc::Sender<RuntimeEvent>>>,
}

/// Held while a task is prepared, started or removed.
type Turn = tokio::sync::Mutex<()>;

impl Inner {
    fn turn(&self, task: TaskId) -> Arc<Turn> {
        let mut turns = locked(&self.turns);
        if let Some(turn) = turns.get(&task).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(Turn::default());
        turns.insert(task, Arc::downgrade(&turn));
        turn
    }

    fn entry(&self, task: TaskId) -> Result<Arc<Entry>, RuntimeError> {
        locked(&self.tasks).get(&task).cloned().ok_or(RuntimeError::NoSuchTask { task })
    }

    /// Blocking.
    fn prepare(&self, launch: &TaskLaunch) -> Result<Prepared, RuntimeError> {
        if let Ok(entry) = self.entry(launch.id) {
            return Ok(entry.record.prepared.clone());
        }
        let record = self.places.prepare(launch).inspect_err(|_| {
            if let Err(error) = self.places.remove(launch.id) {
                tracing::warn!(task = %launch.id, %error, "cleaning up after a failed preparation");
            }
        })?;
        let prepared = record.prepared.clone();
        locked(&self.tasks).insert(launch.id, Entry::new(record, RunState::Prepared));
        Ok(prepared)
    }
}

/// One task.
#[derive(Debug)]
struct Entry {
    record: Record,
    state: state::Sender<RunState>,
    watcher: Mutex<Option<Watcher>>,
}

impl Entry {
    fn new(record: Record, state: RunState) -> Arc<Self> {
        let (state, _) = state::channel(state);
        Arc::new(Self { record, state, watcher: Mutex::default() })
    }

    /// The exit status, once there is one.
    async fn ended(&self) -> i32 {
        let mut state = self.state.subscribe();
        let ended = state.wait_for(|state| matches!(state, RunState::Exited { .. })).await;
        match ended.as_deref() {
            Ok(RunState::Exited { code }) => *code,
            // The sender is this entry's own, so the channel is open.
            _ => KILLED,
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves the value whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs blocking work to its end, even if the caller stops waiting.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RuntimeError> + Send + 'static,
) -> Result<T, RuntimeError> {
    finished(tokio::task::spawn_blocking(work)).await
}

/// Lets a spawned step go on when the caller stops waiting: a task half started would be nobody's.
async fn finished<T>(step: tokio::task::JoinHandle<Result<T, RuntimeError>>) -> Result<T, RuntimeError> {
    match step.await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(RuntimeError::ShuttingDown),
    }
}

impl NativeRuntime {
    /// Opens the runtime: removes what an earlier daemon left half-made, adopts the tasks that run. A state
    /// file that cannot be read is refused and left as it is.
    pub async fn open(config: NativeConfig) -> Result<Self, RuntimeError> {
        let opened = config.clone();
        let (places, found) = blocking(move || {
            let places = Places::open(&opened)?;
            let found = recover::all(&places)?;
            Ok((places, found))
        })
        .await?;
        let inner = Inner {
            config,
            places,
            tasks: Mutex::default(),
            turns: Mutex::default(),
            listeners: Mutex::default(),
        };
        let runtime = Self { inner: Arc::new(inner) };
        for (record, recovered) in found {
            let id = record.launch.id;
            let entry = Entry::new(record, recovered.state);
            if let Some(shim) = recovered.shim {
                Watcher::begin(&runtime.inner, id, &entry, shim)?;
            }
            locked(&runtime.inner.tasks).insert(id, entry);
        }
        Ok(runtime)
    }

    /// From now on, what happens to tasks. Subscribe before [`Self::adopt`] to miss nothing.
    pub fn events(&self) -> mpsc::Receiver<RuntimeEvent> {
        let (sender, receiver) = mpsc::channel(EVENTS_WAITING);
        locked(&self.inner.listeners).push(sender);
        receiver
    }

    /// All tasks that the runtime has, with what became of them while no daemon watched.
    #[expect(clippy::unused_async, reason = "a call like the others, for runtimes that have to ask")]
    pub async fn adopt(&self) -> Vec<Found> {
        let tasks = locked(&self.inner.tasks);
        let found = tasks.values().map(|entry| Found {
            launch: entry.record.launch.clone(),
            prepared: entry.record.prepared.clone(),
            state: entry.state.borrow().clone(),
        });
        found.collect()
    }

    /// Makes the task's network namespace, files and cgroup. Doing it again gives the same answer; what fails
    /// leaves nothing behind.
    pub async fn prepare(&self, launch: &TaskLaunch) -> Result<Prepared, RuntimeError> {
        let (inner, launch) = (Arc::clone(&self.inner), launch.clone());
        finished(tokio::spawn(async move {
            let turn = inner.turn(launch.id);
            let _turn = turn.lock().await;
            let worker = Arc::clone(&inner);
            blocking(move || worker.prepare(&launch)).await
        }))
        .await
    }

    /// Starts the process of a prepared task; gives its process id on the node. After a failure the task is
    /// prepared as before.
    pub async fn start(&self, task: &TaskId) -> Result<u32, RuntimeError> {
        let (inner, task) = (Arc::clone(&self.inner), *task);
        finished(tokio::spawn(async move {
            let turn = inner.turn(task);
            let _turn = turn.lock().await;
            let entry = inner.entry(task)?;
            match &*entry.state.borrow() {
                RunState::Prepared => {}
                RunState::Running { .. } => return Err(wrong_state(task, "running", "prepared")),
                RunState::Exited { .. } => return Err(wrong_state(task, "exited", "prepared")),
            }
            let (exe, dir) = (inner.config.exe.clone(), inner.places.dir(task));
            let started = blocking(move || spawn::shim(&exe, &dir)).await?;
            let pid = started.init.pid;
            entry.state.send_replace(RunState::Running { pid });
            if let Err(error) = Watcher::begin(&inner, task, &entry, started.shim) {
                // Nobody would learn of its end.
                blocking(move || inner.places.kill_cgroup(task)).await?;
                entry.state.send_replace(RunState::Exited { code: KILLED });
                return Err(error);
            }
            Ok(pid)
        }))
        .await
    }

    /// Sends the stop signal, waits for the grace period, kills; gives the exit status once the task has no
    /// process any more, `None` for a task that was never started. One that got the signal already, also from an
    /// earlier daemon, has what is left of its time.
    pub async fn stop(&self, task: &TaskId) -> Result<Option<i32>, RuntimeError> {
        let entry = self.inner.entry(*task)?;
        match *entry.state.borrow() {
            RunState::Prepared => return Ok(None),
            RunState::Exited { code } => return Ok(Some(code)),
            RunState::Running { .. } => {}
        }
        let mark = self.signal_stop(*task, &entry.record.launch)?;
        let left = mark.left().map_err(RuntimeError::io("read the clock for", format!("task {task}")))?;
        if let Ok(code) = timeout(left, entry.ended()).await {
            return Ok(Some(code));
        }
        self.kill(*task, &entry).await.map(Some)
    }

    /// Sends the stop signal, unless that was done, and remembers it.
    fn signal_stop(&self, task: TaskId, launch: &TaskLaunch) -> Result<StopMark, RuntimeError> {
        let dir = self.inner.places.dir(task);
        if let Some(mark) = dir.stop_mark()? {
            return Ok(mark);
        }
        let io = |doing| RuntimeError::io(doing, format!("task {task}"));
        if let Some(pidfd) = self.init(task)? {
            let sent = sys::pidfd_signal(pidfd.as_fd(), launch.stop_signal);
            let gone = |error: &std::io::Error| error.raw_os_error() == Some(nix::libc::ESRCH);
            sent.or_else(|error| if gone(&error) { Ok(()) } else { Err(error) }).map_err(io("signal"))?;
        }
        let mark = StopMark::now(launch.stop_grace_period).map_err(io("read the clock for"))?;
        dir.write_stop_mark(mark)?;
        Ok(mark)
    }

    /// The task's connections, also those that its process left behind.
    pub async fn connections(&self, task: &TaskId) -> Result<Connections, RuntimeError> {
        let netns = self.inner.entry(*task)?.record.prepared.netns.clone();
        blocking(move || {
            Connections::of_namespace(&netns).map_err(RuntimeError::io("look at the sockets in", &netns))
        })
        .await
    }

    /// Removes everything the task has, killing it if it runs. A task that is not there is removed.
    pub async fn remove(&self, task: &TaskId) -> Result<(), RuntimeError> {
        let (runtime, task) = (self.clone(), *task);
        finished(tokio::spawn(async move {
            let turn = runtime.inner.turn(task);
            let _turn = turn.lock().await;
            if let Ok(entry) = runtime.inner.entry(task) {
                if matches!(*entry.state.borrow(), RunState::Running { .. }) {
                    runtime.kill(task, &entry).await?;
                }
                locked(&runtime.inner.tasks).remove(&task);
            }
            let inner = Arc::clone(&runtime.inner);
            blocking(move || inner.places.remove(task)).await
        }))
        .await
    }

    /// Runs `argv` inside the running task, with its user and environment; gives the exit status
    /// (126 and 127 as a shell does for what cannot be run or found). Dropping the future kills the command.
    pub async fn exec(&self, task: &TaskId, argv: &[String], stdio: ExecStdio) -> Result<i32, RuntimeError> {
        self.running(*task)?;
        spawn::inside(&self.inner.config.exe, "exec", &self.inner.places.dir(*task), argv, stdio).await
    }

    /// The task, which has to be running.
    fn running(&self, task: TaskId) -> Result<Arc<Entry>, RuntimeError> {
        let entry = self.inner.entry(task)?;
        match *entry.state.borrow() {
            RunState::Running { .. } => {}
            RunState::Prepared => return Err(wrong_state(task, "prepared", "running")),
            RunState::Exited { .. } => return Err(wrong_state(task, "exited", "running")),
        }
        Ok(entry)
    }

    /// The task's first process, while it lives.
    fn init(&self, task: TaskId) -> Result<Option<OwnedFd>, RuntimeError> {
        let dir = self.inner.places.dir(task);
        let Some(init) = dir.init()? else { return Ok(None) };
        init.open().map_err(RuntimeError::io("open process of", dir.path()))
    }

    async fn kill(&self, task: TaskId, entry: &Entry) -> Result<i32, RuntimeError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.places.kill_cgroup(task)).await?;
        let unkillable = |_| RuntimeError::Unkillable { task, seconds: KILL_LIMIT.as_secs() };
        timeout(KILL_LIMIT, entry.ended()).await.map_err(unkillable)
    }
}

fn wrong_state(task: TaskId, state: &'static str, needed: &'static str) -> RuntimeError {
    RuntimeError::WrongState { task, state, needed }
}
