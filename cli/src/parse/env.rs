//! `--env` and `--env-file`.

use std::path::Path;

use crate::error::CliError;

/// All variables: those of the files first, so that `--env` goes before them.
pub fn environment(variables: &[String], files: &[String]) -> Result<Vec<String>, CliError> {
    let mut all: Vec<String> = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(Path::new(file))
            .map_err(|source| CliError::File { path: file.clone(), source })?;
        for line in
            text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            add(&mut all, line)?;
        }
    }
    for variable in variables {
        add(&mut all, variable)?;
    }
    Ok(all)
}

/// The name of a variable, `KEY` or `KEY=value`.
pub fn key(variable: &str) -> &str {
    variable.split_once('=').map_or(variable, |(key, _)| key)
}

/// Adds `KEY=value`, or `KEY` with this process's value; a later value of a key replaces an earlier one.
fn add(all: &mut Vec<String>, text: &str) -> Result<(), CliError> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (text, std::env::var(text).ok()),
    };
    if key.is_empty() || key.contains(char::is_whitespace) {
        return Err(CliError::Usage(format!("invalid environment variable {text:?}: KEY=value is expected")));
    }
    // As docker does: a variable that is not set here is not passed on.
    let Some(value) = value else { return Ok(()) };
    all.retain(|known| self::key(known) != key);
    all.push(format!("{key}={value}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_go_before_files_and_the_last_value_counts() {
        let dir = std::env::temp_dir().join(format!("meshctl-env-{}", std::process::id()));
        std::fs::write(&dir, "# comment\nA=1\n\n  B=2=3\n").unwrap();
        let file = dir.to_string_lossy().into_owned();
        let variables = ["A=9".to_owned(), "C=".to_owned(), "MESHCTL_SURELY_UNSET".to_owned()];
        let all = environment(&variables, std::slice::from_ref(&file));
        std::fs::remove_file(&dir).unwrap();
        assert_eq!(all.unwrap(), ["B=2=3", "A=9", "C="]);
        assert!(matches!(environment(&[], &[file]), Err(CliError::File { .. })));
        assert_eq!(environment(&["=x".to_owned()], &[]).unwrap_err().exit(), 64);
    }
}
