//! `--secret` and `--config`: `NAME`, or `source=NAME,target=PATH,uid=UID,gid=GID,mode=0440`.

use mesh_api::engine::content::{ConfigReference, FileTarget, SecretReference};

/// Everybody may read it.
const MODE: u32 = 0o444;

/// A secret that tasks get. Its id is not known yet.
pub fn secret(text: &str) -> Result<SecretReference, String> {
    let (secret_name, file) = source_and_file("--secret", text)?;
    Ok(SecretReference { file: Some(file), secret_name, secret_id: String::new() })
}

/// A config that tasks get. Its id is not known yet.
pub fn config(text: &str) -> Result<ConfigReference, String> {
    let (config_name, file) = source_and_file("--config", text)?;
    Ok(ConfigReference { file: Some(file), config_name, ..ConfigReference::default() })
}

fn source_and_file(flag: &str, text: &str) -> Result<(String, FileTarget), String> {
    let refused = |reason: String| format!("invalid {flag} {text:?}: {reason}");
    let mut source = String::new();
    let mut file = FileTarget { name: String::new(), uid: "0".to_owned(), gid: "0".to_owned(), mode: MODE };
    if text.contains(['=', ',']) {
        for (name, value) in super::fields(text).map_err(refused)? {
            match name.to_ascii_lowercase().as_str() {
                "source" | "src" => value.clone_into(&mut source),
                "target" => value.clone_into(&mut file.name),
                "uid" => value.clone_into(&mut file.uid),
                "gid" => value.clone_into(&mut file.gid),
                "mode" => file.mode = mode(value).map_err(refused)?,
                _ => {
                    return Err(refused(format!(
                        "unknown field {name:?}: source, target, uid, gid and mode are known"
                    )));
                }
            }
        }
    } else {
        text.clone_into(&mut source);
    }
    if source.is_empty() {
        return Err(refused("source is required".to_owned()));
    }
    if file.name.is_empty() {
        file.name.clone_from(&source);
    }
    Ok((source, file))
}

/// Permission bits as Go reads numbers: octal after a `0` or `0o`, decimal otherwise.
fn mode(text: &str) -> Result<u32, String> {
    let octal = text.strip_prefix("0o").or_else(|| text.strip_prefix('0')).filter(|rest| !rest.is_empty());
    let number = octal.map_or_else(|| text.parse(), |digits| u32::from_str_radix(digits, 8));
    number.map_err(|_| format!("mode {text:?} is no number such as 0440"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_forms() {
        let file = |name: &str, uid: &str, gid: &str, mode| {
            Some(FileTarget { name: name.to_owned(), uid: uid.to_owned(), gid: gid.to_owned(), mode })
        };
        for (text, source, target) in [
            ("key", "key", file("key", "0", "0", 0o444)),
            ("source=key", "key", file("key", "0", "0", 0o444)),
            ("src=key,target=/etc/key,uid=5,gid=6,mode=0400", "key", file("/etc/key", "5", "6", 0o400)),
            ("Source=key,Target=k,mode=0o440", "key", file("k", "0", "0", 0o440)),
            ("source=key,mode=292", "key", file("key", "0", "0", 0o444)),
        ] {
            let secret = secret(text).unwrap();
            assert_eq!((secret.secret_name.as_str(), &secret.file), (source, &target), "{text}");
            let config = config(text).unwrap();
            assert_eq!((config.config_name.as_str(), &config.file), (source, &target), "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, reason) in [
            ("", "source is required"),
            ("target=x", "source is required"),
            ("source=a,b", "invalid field \"b\""),
            ("source=a,mode=rw", "mode \"rw\" is no number"),
            ("source=a,mode=0999", "mode \"0999\" is no number"),
            ("source=a,name=x", "unknown field \"name\""),
        ] {
            let refusal = secret(text).unwrap_err();
            assert!(refusal.starts_with(&format!("invalid --secret {text:?}: ")), "{refusal}");
            assert!(refusal.contains(reason), "{refusal}");
        }
    }
}
