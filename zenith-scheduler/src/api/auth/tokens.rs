//! The file of tokens: a line each of name, role and hash, readable by its owner alone. It is looked at again whenever it has
//! changed, so that a token counts, or counts no more, from the moment at which it was added or removed.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::{fmt, process};

use super::secret::{Hash, Secret, hash, hex, unhex};

/// The file's name in the folder of the state.
const FILE: &str = "tokens";

/// What somebody with a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Submit, and change what is theirs.
    User,
    /// Everything that people do.
    Admin,
    /// Join as a node, and nothing else.
    Agent,
}

/// The tokens that are known.
#[derive(Debug)]
pub struct Tokens {
    path: PathBuf,
    read: Mutex<Read>,
}

/// What was read, and of which file.
#[derive(Debug, Default)]
struct Read {
    stamp: Option<Stamp>,
    known: Arc<Known>,
}

type Known = BTreeMap<Hash, (String, Role)>;
type Stamp = (u64, i64, i64, u64);

/// What is wrong with the tokens.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A line makes no sense.
    #[error("{}: line {line} is no token: name, role and hash are expected", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which, counted from 1.
        line: usize,
    },
    /// Others may read it.
    #[error("{}: others than its owner may read it; chmod 600 changes that", path.display())]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// A name that cannot stand in a line.
    #[error("{name:?} is no name of a user: it has to be 1 to 128 bytes without white space")]
    Name {
        /// The name.
        name: String,
    },
    /// No token has this name.
    #[error("{}: there is no token of {name:?}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
}

impl Tokens {
    /// The tokens of the state in a folder. There need not be any.
    pub fn at(folder: &Path) -> Self {
        Self { path: folder.join(FILE), read: Mutex::default() }
    }

    /// There are none. For a start; later ones count when they come.
    ///
    /// # Errors
    /// A file that cannot be read, or that makes no sense.
    pub fn is_empty(&self) -> Result<bool, TokenError> {
        Ok(self.read()?.is_empty())
    }

    /// Whose a token is, and what they may do.
    pub(super) fn find(&self, token: &str) -> Option<(String, Role)> {
        let known = self.current();
        // What is compared in a time that depends on its content is a hash, which tells nothing about the token.
        known.get(&hash(token)).cloned()
    }

    /// Names and roles, by name.
    ///
    /// # Errors
    /// A file that cannot be read, or that makes no sense.
    pub fn list(&self) -> Result<Vec<(String, Role)>, TokenError> {
        let mut list: Vec<(String, Role)> = self.read()?.into_values().collect();
        list.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(list)
    }

    /// Makes a token. It can be had only now.
    ///
    /// # Errors
    /// A name that is none; a file that cannot be read or written.
    pub fn add(&self, name: &str, role: Role) -> Result<Secret, TokenError> {
        let is_name = |c: char| !c.is_whitespace() && !c.is_control();
        if name.is_empty() || name.len() > 128 || !name.chars().all(is_name) {
            return Err(TokenError::Name { name: name.to_owned() });
        }
        let lock = self.lock()?;
        let mut known = self.read()?;
        let secret = Secret::random().map_err(|source| self.failed(source))?;
        known.insert(hash(secret.reveal()), (name.to_owned(), role));
        self.write(&known)?;
        drop(lock);
        Ok(secret)
    }

    /// Takes all tokens of a name away. Returns how many there were.
    ///
    /// # Errors
    /// There are none; a file that cannot be read or written.
    pub fn remove(&self, name: &str) -> Result<usize, TokenError> {
        let lock = self.lock()?;
        let mut known = self.read()?;
        let before = known.len();
        known.retain(|_, (known, _)| known != name);
        let removed = before - known.len();
        if removed == 0 {
            return Err(TokenError::Missing { path: self.path.clone(), name: name.to_owned() });
        }
        self.write(&known)?;
        drop(lock);
        Ok(removed)
    }

    /// What the file has now, read again only where it has changed. What was known stays known where it cannot be read.
    fn current(&self) -> Arc<Known> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = fs::metadata(&self.path).ok().map(|facts| stamp_of(&facts));
        if stamp != read.stamp {
            match self.read() {
                Ok(known) => *read = Read { stamp, known: Arc::new(known) },
                Err(error) => tracing::error!(%error, "the tokens that were known before count on"),
            }
        }
        Arc::clone(&read.known)
    }

    fn read(&self) -> Result<Known, TokenError> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Known::new()),
            Err(source) => return Err(self.failed(source)),
        };
        let facts = fs::metadata(&self.path).map_err(|source| self.failed(source))?;
        if facts.permissions().mode() & 0o077 != 0 {
            return Err(TokenError::Open { path: self.path.clone() });
        }
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        lines
            .map(|(number, line)| {
                parsed(line).ok_or_else(|| TokenError::Line { path: self.path.clone(), line: number })
            })
            .collect()
    }

    /// Puts a whole file in the place of the old one, so that nobody reads half of it.
    fn write(&self, known: &Known) -> Result<(), TokenError> {
        let new = self.path.with_extension(format!("{}.new", process::id()));
        let written = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            for (hash, (name, role)) in known {
                writeln!(file, "{name} {role} {}", hex(hash))?;
            }
            file.sync_all()?;
            fs::rename(&new, &self.path)?;
            File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()
        };
        written().map_err(|source| self.failed(source))
    }

    /// Two programs that change the file do it one after the other.
    fn lock(&self) -> Result<File, TokenError> {
        let path = self.path.with_extension("lock");
        let failed = |source| TokenError::File { path: path.clone(), source };
        let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = open.map_err(failed)?;
        file.lock().map_err(failed)?;
        Ok(file)
    }

    fn failed(&self, source: io::Error) -> TokenError {
        TokenError::File { path: self.path.clone(), source }
    }
}

fn stamp_of(facts: &fs::Metadata) -> Stamp {
    (facts.ino(), facts.mtime(), facts.mtime_nsec(), facts.size())
}

fn parsed(line: &str) -> Option<(Hash, (String, Role))> {
    let mut words = line.split_whitespace();
    let (name, role, hash) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() {
        return None;
    }
    Some((unhex(hash)?, (name.to_owned(), role.parse().ok()?)))
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Admin => "admin",
            Self::Agent => "agent",
        })
    }
}

impl FromStr for Role {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        [Self::User, Self::Admin, Self::Agent].into_iter().find(|role| role.to_string() == word).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_counts_from_its_adding_to_its_removal() {
        let folder = tempfile::tempdir().unwrap();
        let (server, tool) = (Tokens::at(folder.path()), Tokens::at(folder.path()));
        assert!(server.is_empty().unwrap());
        let ann = tool.add("ann", Role::User).unwrap();
        assert_eq!(server.find(ann.reveal()), Some(("ann".to_owned(), Role::User)));
        let bob = tool.add("bob", Role::Agent).unwrap();
        assert_eq!(server.find(bob.reveal()), Some(("bob".to_owned(), Role::Agent)));
        let names: Vec<String> = tool.list().unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["ann", "bob"]);
        assert_eq!(tool.remove("ann").unwrap(), 1);
        assert_eq!(server.find(ann.reveal()), None);
        assert!(matches!(tool.remove("ann"), Err(TokenError::Missing { .. })));
    }

    #[test]
    fn the_file_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::at(folder.path());
        tokens.add("ann", Role::User).unwrap();
        let path = folder.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(tokens.is_empty(), Err(TokenError::Open { .. })));
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::at(folder.path());
        tokens.add("ann", Role::User).unwrap();
        let path = folder.path().join(FILE);
        let good = fs::read_to_string(&path).unwrap();
        for bad in ["ann user", "ann king 00", "ann user 00 more"] {
            fs::write(&path, format!("{good}{bad}\n")).unwrap();
            assert!(matches!(tokens.is_empty(), Err(TokenError::Line { line: 2, .. })), "{bad}");
        }
        assert!(matches!(tokens.add("a b", Role::User), Err(TokenError::Name { .. })));
        assert!(matches!(tokens.add("", Role::User), Err(TokenError::Name { .. })));
    }
}
