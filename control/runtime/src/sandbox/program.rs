//! What is executed, where, and with which environment.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::SetupError;
use super::user::Identity;
use crate::state::Record;

/// Where programs are looked for when neither image nor launch says.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The environment: defaults, then the image's, then the launch's; later ones replace earlier ones.
pub fn environment(record: &Record, identity: &Identity) -> Vec<String> {
    let defaults = [
        format!("PATH={PATH_DEFAULT}"),
        format!("HOSTNAME={}", record.hostname()),
        format!("HOME={}", identity.home),
    ];
    let mut environment: Vec<String> = Vec::new();
    for entry in defaults.iter().chain(&record.image.config.env).chain(&record.launch.env) {
        let name = entry.split('=').next().unwrap_or_default();
        let same = |other: &String| other.split('=').next() == Some(name);
        match environment.iter_mut().find(|other| same(other)) {
            Some(earlier) => earlier.clone_from(entry),
            None => environment.push(entry.clone()),
        }
    }
    environment
}

/// The working directory.
pub fn directory(record: &Record) -> String {
    let image = record.image.config.working_dir.as_str();
    let directory = record.launch.dir.as_deref().unwrap_or(image);
    if directory.is_empty() { "/".to_owned() } else { directory.to_owned() }
}

/// The file that the command line names: itself when it has a slash, else the first of that name along the
/// task's own `PATH`.
pub fn find(line: &[String], environment: &[String]) -> Result<CString, SetupError> {
    let program = line.first().filter(|program| !program.is_empty()).ok_or(SetupError::NoCommand)?;
    let not_found = || SetupError::NotFound { program: program.clone() };
    let file = if program.contains('/') {
        Path::new(program).exists().then(|| program.clone())
    } else {
        let path = environment.iter().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
        let candidates =
            path.split(':').filter(|part| !part.is_empty()).map(|part| format!("{part}/{program}"));
        candidates.into_iter().find(|candidate| executable(Path::new(candidate)))
    };
    CString::new(file.ok_or_else(not_found)?).map_err(|_| SetupError::Nul { field: "command" })
}

fn executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn programs_are_found_along_the_given_path_only() {
        let path = ["PATH=/nowhere:/bin".to_owned()];
        assert_eq!(find(&line("sh -c"), &path).expect("sh"), c"/bin/sh".to_owned());
        assert_eq!(find(&line("/bin/sh"), &[]).expect("/bin/sh"), c"/bin/sh".to_owned());
        let error = find(&line("sh"), &["PATH=/nowhere".to_owned()]).expect_err("not along it");
        assert_eq!(error.to_string(), "exec: \"sh\": executable file not found in $PATH");
        assert_eq!(error.exit_code(), 127);
        let error = find(&line("/no/such"), &path).expect_err("no such file");
        assert_eq!(error.to_string(), "exec: \"/no/such\": no such file or directory");
        assert!(matches!(find(&[], &path), Err(SetupError::NoCommand)));
    }
}
