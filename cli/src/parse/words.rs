//! `--args` and `--entrypoint`: words as a shell would split them.

use std::str::FromStr;

/// Words of a command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words(pub Vec<String>);

impl FromStr for Words {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        shlex::split(text).map(Self).ok_or_else(|| format!("invalid command {text:?}: a quote is not closed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_words_together() {
        let words = |text: &str| text.parse::<Words>().map(|Words(words)| words);
        assert_eq!(words(r#"--name "a b" 'c  d' e\ f"#).unwrap(), ["--name", "a b", "c  d", "e f"]);
        assert_eq!(words("").unwrap(), Vec::<String>::new());
        assert!(words("a 'b").unwrap_err().contains("a quote is not closed"));
    }
}
