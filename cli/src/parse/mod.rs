//! Values of flags, in docker's notations. Everything here is pure; what is wrong is said in one line.

pub mod content;
pub mod env;
pub mod network;
pub mod publish;
pub mod time;
pub mod units;
pub mod words;

/// `KEY=VALUE`, or `KEY` with an empty value.
pub fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.trim().is_empty() {
        return Err(format!("invalid label {text:?}: KEY=VALUE is expected"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Fields of `name=value,name=value`.
pub fn fields(text: &str) -> Result<Vec<(&str, &str)>, String> {
    let refused = |part: &str| format!("invalid field {part:?}: KEY=VALUE is expected");
    text.split(',').map(|part| part.split_once('=').ok_or_else(|| refused(part))).collect()
}
