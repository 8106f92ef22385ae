//! Images: what a task's root file system is made of and how its program is started by default.
//!
//! Present on every node are the built-in ones, whose only layer is made from the daemon's own (static)
//! binary. A layer once made is never changed.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use mesh_core::spec::HealthConfig;
use serde::{Deserialize, Serialize};

use crate::error::RuntimeError;
use crate::task::TaskLaunch;
use crate::whoami;

const REPOSITORY: &str = "mesh/whoami";
const TAGS: [&str; 2] = ["1", "2"];
/// Directories of the built-in layer; those that file systems are mounted on are among them, so that nothing
/// has to be made at start.
const DIRECTORIES: [&str; 7] = ["bin", "dev", "etc", "proc", "root", "sys", "tmp"];
const PASSWD: &str = "root:x:0:0:root:/root:/bin/whoami\nnobody:x:65534:65534:nobody:/:/bin/whoami\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";

/// An image, ready to be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Directories of the layers, the topmost first.
    pub layers: Vec<PathBuf>,
    /// Defaults of the process.
    pub config: ImageConfig,
}

/// What an image says of its process, in the words of the OCI image configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// Arguments that a task's own replace.
    pub cmd: Vec<String>,
    /// Environment, `KEY=value`.
    pub env: Vec<String>,
    /// User, empty for root.
    pub user: String,
    /// Working directory, empty for `/`.
    pub working_dir: String,
}

impl ImageConfig {
    /// The command line of a task with this command and these arguments, by Docker's rules: a command
    /// replaces the entry point and drops the image's arguments, arguments replace the image's.
    pub fn command_line(&self, command: &[String], args: &[String]) -> Vec<String> {
        let program = if command.is_empty() { &self.entrypoint } else { command };
        let arguments = if args.is_empty() && command.is_empty() { &self.cmd } else { args };
        program.iter().chain(arguments).cloned().collect()
    }
}

impl Image {
    /// How the image says that a task that is started so is probed. The built-in one serves at the port that its
    /// own command line names; where something else is started, it says nothing.
    pub fn health(&self, launch: &TaskLaunch) -> HealthConfig {
        let line = self.config.command_line(&launch.command, &launch.args);
        match line.split_first() {
            Some((program, args)) if self.config.entrypoint.first() == Some(program) => {
                let env: Vec<_> = self.config.env.iter().chain(&launch.env).cloned().collect();
                whoami::health(args, &env)
            }
            _ => HealthConfig::default(),
        }
    }
}

/// The images of a node.
#[derive(Debug, Clone)]
pub struct Images {
    layers: PathBuf,
    exe: PathBuf,
}

impl Images {
    /// Images with their layers below `data_dir`, the built-in ones made from the binary `exe`.
    pub fn new(data_dir: &Path, exe: &Path) -> Self {
        Self { layers: data_dir.join("layers"), exe: exe.to_owned() }
    }

    /// The image that `reference`, tag included, names.
    pub fn resolve(&self, reference: &str) -> Result<Image, RuntimeError> {
        let tag = reference.strip_prefix(REPOSITORY).and_then(|rest| rest.strip_prefix(':'));
        let Some(tag) = tag.filter(|tag| TAGS.contains(tag)) else {
            let built_in: Vec<_> = TAGS.iter().map(|tag| format!("{REPOSITORY}:{tag}")).collect();
            let known = format!("built in are {}", built_in.join(" and "));
            return Err(RuntimeError::NoSuchImage { image: reference.to_owned(), known });
        };
        let config = ImageConfig {
            entrypoint: vec!["/bin/whoami".to_owned()],
            env: vec![format!("WHOAMI_VERSION={tag}")],
            ..ImageConfig::default()
        };
        Ok(Image { layers: vec![self.built_in_layer()?], config })
    }

    /// Removes layers that are neither in `used` nor of the present binary, and what was left half-made.
    pub fn collect(&self, used: &BTreeSet<PathBuf>) -> Result<(), RuntimeError> {
        let current = self.built_in_path()?;
        let entries = match fs::read_dir(&self.layers) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(RuntimeError::io("list", &self.layers)(error)),
        };
        for entry in entries {
            let path = entry.map_err(RuntimeError::io("list", &self.layers))?.path();
            if path != current && !used.contains(&path) {
                fs::remove_dir_all(&path).map_err(RuntimeError::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// The layer's name tells the binary apart from any other, so an upgraded daemon makes another layer.
    fn built_in_path(&self) -> Result<PathBuf, RuntimeError> {
        let exe = fs::metadata(&self.exe).map_err(RuntimeError::io("look at", &self.exe))?;
        let key = format!("{:x}-{:x}-{:x}-{:x}", exe.dev(), exe.ino(), exe.mtime(), exe.mtime_nsec());
        Ok(self.layers.join(format!("whoami-{key}")))
    }

    fn built_in_layer(&self) -> Result<PathBuf, RuntimeError> {
        let path = self.built_in_path()?;
        if !path.exists() {
            fs::create_dir_all(&self.layers).map_err(RuntimeError::io("make", &self.layers))?;
            make_built_in(&self.exe, &path).map_err(RuntimeError::io("make image layer", &path))?;
        }
        Ok(path)
    }
}

fn make_built_in(exe: &Path, path: &Path) -> io::Result<()> {
    let draft = unused_sibling(path)?;
    for directory in DIRECTORIES {
        fs::create_dir(draft.join(directory))?;
    }
    fs::set_permissions(draft.join("root"), Permissions::from_mode(0o700))?;
    fs::set_permissions(draft.join("tmp"), Permissions::from_mode(0o1777))?;
    fs::write(draft.join("etc/passwd"), PASSWD)?;
    fs::write(draft.join("etc/group"), GROUP)?;
    for mounted in ["hosts", "hostname", "resolv.conf"] {
        fs::write(draft.join("etc").join(mounted), "")?;
    }
    link_or_copy(exe, &draft.join("bin/whoami"))?;
    match fs::rename(&draft, path) {
        // Another task of this image was faster.
        Err(_) if path.exists() => fs::remove_dir_all(&draft),
        other => other,
    }
}

fn unused_sibling(path: &Path) -> io::Result<PathBuf> {
    (0u32..)
        .map(|n| path.with_extension(format!("{}.{n}.new", std::process::id())))
        .find_map(|draft| match fs::create_dir(&draft) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
            other => Some(other.map(|()| draft)),
        })
        .unwrap_or_else(|| Err(io::ErrorKind::AlreadyExists.into()))
}

/// A link keeps one copy of the binary in memory for all nodes of a lab; a copy is taken across file systems
/// and of a binary that was replaced while it ran.
fn link_or_copy(exe: &Path, to: &Path) -> io::Result<()> {
    let linked = fs::canonicalize(exe).and_then(|file| {
        let same = fs::metadata(&file)?.ino() == fs::metadata(exe)?.ino();
        let executable = fs::metadata(&file)?.mode() & 0o111 == 0o111;
        if same && executable { fs::hard_link(file, to) } else { Err(io::ErrorKind::NotFound.into()) }
    });
    linked.or_else(|_| {
        fs::copy(exe, to)?;
        fs::set_permissions(to, Permissions::from_mode(0o755))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn command_and_arguments_replace_the_images_as_docker_does() {
        let config = ImageConfig { entrypoint: words("/entry"), cmd: words("a b"), ..ImageConfig::default() };
        for (command, args, line) in
            [("", "", "/entry a b"), ("", "c", "/entry c"), ("/own", "", "/own"), ("/own x", "c", "/own x c")]
        {
            assert_eq!(config.command_line(&words(command), &words(args)), words(line), "{command} {args}");
        }
    }

    #[test]
    fn unknown_images_are_refused_with_those_that_exist() {
        let images = Images::new(Path::new("/nowhere"), Path::new("/proc/self/exe"));
        for reference in ["mesh/whoami:latest", "mesh/whoami:3", "mesh/whoami", "nginx:1", "mesh/whoami1", ""]
        {
            let error = images.resolve(reference).expect_err(reference);
            assert!(error.is_rejection());
            let text = format!("No such image: {reference} (built in are mesh/whoami:1 and mesh/whoami:2)");
            assert_eq!(error.to_string(), text);
        }
    }
}
