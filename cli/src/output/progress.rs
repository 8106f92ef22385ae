//! Progress of a service in docker's words: `overall progress: M out of N tasks`, up to twenty tasks a line
//! each, above that each thing that keeps tasks from running once. On a terminal the lines are drawn over;
//! elsewhere each change is told once. It goes to standard error, so that a script reads the id alone.

use std::collections::{BTreeMap, BTreeSet};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::Shell;
use super::words::{counted, ellipsis};

/// Most tasks that get a line each.
const LINES_MAX: usize = 20;

/// Width of the bar.
const BAR: usize = 50;

/// States on the way to running, and the one that a job's task comes to after it, with how far each is.
const STATES: [(&str, usize); 9] = [
    ("new", 1),
    ("pending", 3),
    ("assigned", 4),
    ("accepted", 5),
    ("preparing", 6),
    ("ready", 7),
    ("starting", 8),
    ("running", RUNNING),
    ("complete", COMPLETE),
];

/// How far a service's task comes, and a job's.
const RUNNING: usize = 9;
const COMPLETE: usize = 10;

/// Longest error on a line of a terminal.
const ERROR_WIDTH: usize = 75;

/// How far a service is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picture {
    /// Lines about all of it, `WHAT: how far`.
    pub heads: Vec<String>,
    /// Its tasks.
    pub tasks: Vec<TaskLine>,
    /// It goes back to what it was.
    pub back: bool,
}

/// One task, as progress shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskLine {
    /// `1/5`, or a node.
    pub place: String,
    /// `new` to `running` or `complete`, or how it ended.
    pub state: String,
    /// What went wrong.
    pub error: String,
}

/// What is on the screen, or was said.
pub struct Progress {
    quiet: bool,
    screen: Option<Screen>,
    /// The last line said of each thing, by what stands before the colon.
    heads: BTreeMap<String, String>,
    /// What keeps tasks from running, as far as it was said and still holds.
    errors: BTreeSet<String>,
}

impl Progress {
    /// Progress on a terminal (`interactive`), or as lines.
    pub fn new(quiet: bool, interactive: bool) -> Self {
        let screen = (interactive && !quiet).then(Screen::default);
        Self { quiet, screen, heads: BTreeMap::new(), errors: BTreeSet::new() }
    }

    /// Shows how far the service is.
    pub fn show(&mut self, picture: &Picture, shell: &mut Shell) {
        if self.quiet {
            return;
        }
        match &mut self.screen {
            Some(screen) => {
                let errors = ERROR_WIDTH;
                let tasks = task_lines(&picture.tasks, picture.back, errors);
                screen.show(picture.heads.iter().cloned().chain(tasks).collect());
            }
            None => self.tell(picture, shell),
        }
    }

    /// Shows what is done once the tasks run, beside how far they are.
    pub fn stage(&mut self, line: &str, shell: &mut Shell) {
        match &mut self.screen {
            _ if self.quiet => {}
            Some(screen) => screen.add(line),
            None => shell.note(line),
        }
    }

    /// Ends the drawing and leaves the last state as plain lines.
    pub fn end(&mut self, shell: &mut Shell) {
        if let Some(screen) = self.screen.take() {
            screen.leave(shell);
        }
    }

    /// Says what is new, a line each.
    fn tell(&mut self, picture: &Picture, shell: &mut Shell) {
        for head in &picture.heads {
            let what = head.split(':').next().unwrap_or_default();
            if self.heads.get(what) != Some(head) {
                shell.note(head);
                self.heads.insert(what.to_owned(), head.clone());
            }
        }
        let mut holding = BTreeSet::new();
        for task in picture.tasks.iter().filter(|task| !task.error.is_empty()) {
            let error = one_line(&task.error);
            if !self.errors.contains(&error) && !holding.contains(&error) {
                shell.note(&format!("{}: {error}", task.place));
            }
            holding.insert(error);
        }
        self.errors = holding;
    }
}

/// Lines of a terminal that are drawn over.
struct Screen {
    all: MultiProgress,
    bars: Vec<ProgressBar>,
    /// What stands there now.
    lines: Vec<String>,
}

impl Default for Screen {
    fn default() -> Self {
        Self { all: MultiProgress::new(), bars: Vec::new(), lines: Vec::new() }
    }
}

impl Screen {
    fn show(&mut self, lines: Vec<String>) {
        while self.bars.len() < lines.len() {
            self.bars.push(self.all.add(line_bar()));
        }
        while self.bars.len() > lines.len() {
            if let Some(bar) = self.bars.pop() {
                self.all.remove(&bar);
            }
        }
        for (bar, line) in self.bars.iter().zip(&lines) {
            bar.set_message(line.clone());
        }
        self.lines = lines;
    }

    fn add(&mut self, line: &str) {
        let lines = self.lines.iter().cloned().chain([line.to_owned()]).collect();
        self.show(lines);
    }

    fn leave(self, shell: &mut Shell) {
        for bar in &self.bars {
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

/// A line for each task; of many tasks, one for each thing that keeps some of them from running.
fn task_lines(tasks: &[TaskLine], back: bool, width: usize) -> Vec<String> {
    if tasks.len() <= LINES_MAX {
        return tasks.iter().map(|task| task_line(task, back, width)).collect();
    }
    let mut errors: BTreeMap<String, u64> = BTreeMap::new();
    for task in tasks.iter().filter(|task| !task.error.is_empty()) {
        *errors.entry(one_line(&task.error)).or_default() += 1;
    }
    let line = |(error, count)| format!("{}: {}", counted(count, "task"), ellipsis(error, width));
    errors.iter().map(|(error, count)| line((error, *count))).collect()
}

fn task_line(task: &TaskLine, back: bool, width: usize) -> String {
    let TaskLine { place, state, error } = task;
    if !error.is_empty() {
        return format!("{place}: {}", ellipsis(&one_line(error), width));
    }
    let Some((_, done)) = STATES.iter().find(|(known, _)| known == state) else {
        return format!("{place}: {state:<9}");
    };
    // On its way back a service counts down.
    let (done, all) = match (back, *done) {
        (true, done) => (RUNNING.saturating_sub(done), RUNNING),
        (false, COMPLETE) => (COMPLETE, COMPLETE),
        (false, done) => (done, RUNNING),
    };
    let filled = done * BAR / all;
    format!("{place}: {state:<9} [{}>{}]", "=".repeat(filled), " ".repeat(BAR - filled))
}

fn one_line(error: &str) -> String {
    error.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::captured;

    fn task(place: &str, state: &str, error: &str) -> TaskLine {
        TaskLine { place: place.to_owned(), state: state.to_owned(), error: error.to_owned() }
    }

    fn picture(head: &str, tasks: &[TaskLine]) -> Picture {
        Picture { heads: vec![head.to_owned()], tasks: tasks.to_vec(), back: false }
    }

    #[test]
    fn a_task_in_one_line() {
        let line = |task: &TaskLine| task_line(task, false, ERROR_WIDTH);
        assert_eq!(line(&task("1/5", "running", "")), format!("1/5: running   [{}>]", "=".repeat(50)));
        assert_eq!(line(&task("1/5", "complete", "")), format!("1/5: complete  [{}>]", "=".repeat(50)));
        assert_eq!(line(&task(" 3/12", "new", "")), format!(" 3/12: new       [=====>{}]", " ".repeat(45)));
        assert_eq!(
            line(&task("2/3", "pending", "no suitable node\n(1 node not available for new tasks)")),
            "2/3: no suitable node (1 node not available for new tasks)"
        );
        assert_eq!(line(&task("2/3", "failed", "")), "2/3: failed   ");
        let back = |state| task_line(&task("1/1", state, ""), true, ERROR_WIDTH);
        assert_eq!(back("running"), format!("1/1: running   [>{}]", " ".repeat(50)));
        assert_eq!(back("new"), format!("1/1: new       [{}>      ]", "=".repeat(44)));
        assert_eq!(line(&task("2/3", "failed", &"x".repeat(90))).chars().count(), 5 + ERROR_WIDTH);
    }

    #[test]
    fn of_many_tasks_what_keeps_them_is_counted() {
        let mut tasks = vec![task("1/21", "running", ""), task("2/21", "failed", "crashed")];
        tasks.extend((3..=21).map(|at| task(&format!("{at}/21"), "pending", "no suitable node")));
        assert_eq!(task_lines(&tasks, false, ERROR_WIDTH), ["1 task: crashed", "19 tasks: no suitable node"]);
    }

    #[test]
    fn without_a_terminal_each_change_is_told_once() {
        let text = captured(|shell| {
            let mut progress = Progress::new(false, false);
            progress.show(&picture("overall progress: waiting for new tasks", &[]), shell);
            let half = "overall progress: 0 out of 2 tasks";
            let stuck = [task("1/2", "pending", "no room"), task("2/2", "pending", "no room")];
            progress.show(&picture(half, &[task("1/2", "new", ""), task("2/2", "new", "")]), shell);
            progress.show(&picture(half, &stuck), shell);
            progress.show(&picture(half, &stuck[..1]), shell);
            progress.show(&picture(half, &[task("1/2", "starting", "")]), shell);
            progress.show(&picture(half, &stuck[1..]), shell);
            progress.show(&picture("overall progress: 2 out of 2 tasks", &[]), shell);
            progress.end(shell);
            Ok(())
        });
        assert_eq!(
            text,
            "overall progress: waiting for new tasks\noverall progress: 0 out of 2 tasks\n1/2: no room\n\
             2/2: no room\noverall progress: 2 out of 2 tasks\n"
        );
        let silent = captured(|shell| {
            let mut progress = Progress::new(true, false);
            progress.show(&picture("overall progress: 0 out of 1 tasks", &[task("1/1", "new", "x")]), shell);
            progress.stage("verify: …", shell);
            progress.end(shell);
            Ok(())
        });
        assert_eq!(silent, "");
    }
}
