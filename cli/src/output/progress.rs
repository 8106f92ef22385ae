//! Progress of a service in docker's words: `overall progress: M out of N tasks`, up to twenty tasks a line
//! each, `verify: Service converged`. On a terminal the lines are drawn over; elsewhere each change of the
//! overall line is told once. It goes to standard error, so that a script reads the id alone.

use std::collections::BTreeMap;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::Shell;
use super::words::ellipsis;

/// Most tasks that get a line each.
const LINES_MAX: u64 = 20;

/// Width of the bar.
const BAR: usize = 50;

/// States on the way to running, in order.
const STATES: [&str; 8] =
    ["new", "pending", "assigned", "accepted", "preparing", "ready", "starting", "running"];

/// Longest error on a line.
const ERROR_WIDTH: usize = 90;

/// One task, as progress shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskLine {
    /// Which of the replicas; 0 for a global service.
    pub slot: u64,
    /// The node of a global service's task.
    pub node: String,
    /// `new` to `running`, or how it ended.
    pub state: String,
    /// What went wrong.
    pub error: String,
}

impl TaskLine {
    /// The task runs.
    pub fn is_running(&self) -> bool {
        self.state == "running"
    }
}

/// What is on the screen.
pub struct Progress {
    quiet: bool,
    screen: Option<Screen>,
    said: String,
}

struct Screen {
    all: MultiProgress,
    overall: ProgressBar,
    tasks: BTreeMap<(u64, String), ProgressBar>,
    /// What stands there now.
    lines: Vec<String>,
}

impl Progress {
    /// Progress on a terminal (`interactive`), or as lines.
    pub fn new(quiet: bool, interactive: bool) -> Self {
        Self { quiet, screen: (interactive && !quiet).then(Screen::new), said: String::new() }
    }

    /// Shows how far the service is.
    pub fn show(&mut self, total: Option<u64>, tasks: &[TaskLine], shell: &mut Shell) {
        if self.quiet {
            return;
        }
        let overall = overall(total, tasks);
        match &mut self.screen {
            Some(screen) => screen.show(&overall, total, tasks),
            None if self.said != overall => shell.note(&overall),
            None => {}
        }
        self.said = overall;
    }

    /// Says that the service has what it wants.
    pub fn done(&mut self, shell: &mut Shell) {
        if self.quiet {
            return;
        }
        if let Some(screen) = self.screen.take() {
            screen.leave(shell);
        }
        shell.note("verify: Service converged");
    }
}

impl Screen {
    fn new() -> Self {
        let all = MultiProgress::new();
        let overall = all.add(line_bar());
        Self { all, overall, tasks: BTreeMap::new(), lines: Vec::new() }
    }

    fn show(&mut self, overall: &str, total: Option<u64>, tasks: &[TaskLine]) {
        self.overall.set_message(overall.to_owned());
        self.lines = vec![overall.to_owned()];
        let few = total.is_some_and(|total| total <= LINES_MAX);
        let mut gone: Vec<_> = self.tasks.keys().cloned().collect();
        for task in tasks.iter().filter(|_| few) {
            let key = (task.slot, task.node.clone());
            gone.retain(|known| *known != key);
            let bar = self.tasks.entry(key).or_insert_with(|| self.all.add(line_bar()));
            let line = task_line(task, total.unwrap_or(0));
            bar.set_message(line.clone());
            self.lines.push(line);
        }
        for key in gone {
            if let Some(bar) = self.tasks.remove(&key) {
                self.all.remove(&bar);
            }
        }
    }

    /// Ends the drawing and leaves the last state as plain lines.
    fn leave(self, shell: &mut Shell) {
        self.overall.finish_and_clear();
        for bar in self.tasks.values() {
            bar.finish_and_clear();
        }
        for line in &self.lines {
            shell.note(line);
        }
    }
}

fn line_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::no_length().with_style(style)
}

fn overall(total: Option<u64>, tasks: &[TaskLine]) -> String {
    let running = tasks.iter().filter(|task| task.is_running()).count();
    match total {
        Some(total) => format!("overall progress: {running} out of {total} tasks"),
        None => "overall progress: waiting for new tasks".to_owned(),
    }
}

fn task_line(task: &TaskLine, total: u64) -> String {
    let place = match task.slot {
        0 => task.node.clone(),
        slot => {
            let width = total.to_string().len();
            format!("{slot:>width$}/{total}")
        }
    };
    if !task.error.is_empty() {
        return format!("{place}: {}", ellipsis(&task.error, ERROR_WIDTH));
    }
    let Some(done) = STATES.iter().position(|state| *state == task.state) else {
        return format!("{place}: {:<9}", task.state);
    };
    let filled = (done + 1) * BAR / STATES.len();
    let bar = format!("{}>", "=".repeat(filled.saturating_sub(1)));
    format!("{place}: {:<9} [{bar:<BAR$}]", task.state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::captured;

    fn task(slot: u64, state: &str, error: &str) -> TaskLine {
        TaskLine { slot, node: String::new(), state: state.to_owned(), error: error.to_owned() }
    }

    #[test]
    fn a_task_in_one_line() {
        assert_eq!(task_line(&task(1, "running", ""), 5), format!("1/5: running   [{}>]", "=".repeat(49)));
        assert_eq!(
            task_line(&task(3, "new", ""), 12),
            format!(" 3/12: new       [=====>{}]", " ".repeat(44))
        );
        assert_eq!(
            task_line(&task(2, "pending", "no suitable node (1 node not available for new tasks)"), 3),
            "2/3: no suitable node (1 node not available for new tasks)"
        );
        assert_eq!(task_line(&task(2, "failed", ""), 3), "2/3: failed   ");
    }

    #[test]
    fn without_a_terminal_each_change_is_told_once() {
        let text = captured(|shell| {
            let mut progress = Progress::new(false, false);
            progress.show(None, &[], shell);
            progress.show(Some(2), &[task(1, "new", ""), task(2, "new", "")], shell);
            progress.show(Some(2), &[task(1, "starting", ""), task(2, "new", "")], shell);
            progress.show(Some(2), &[task(1, "running", ""), task(2, "running", "")], shell);
            progress.done(shell);
            Ok(())
        });
        assert_eq!(
            text,
            "overall progress: waiting for new tasks\noverall progress: 0 out of 2 tasks\n\
             overall progress: 2 out of 2 tasks\nverify: Service converged\n"
        );
        let silent = captured(|shell| {
            let mut progress = Progress::new(true, false);
            progress.show(Some(1), &[task(1, "running", "")], shell);
            progress.done(shell);
            Ok(())
        });
        assert_eq!(silent, "");
    }
}
