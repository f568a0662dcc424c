use std::error::Error;
use std::fmt;

/// The table that the records are in, if nothing else is said.
pub(super) const DEFAULT: &str = "idempotency_records";

/// As much as PostgreSQL keeps of a name, in bytes.
const LONGEST: usize = 63;

/// A table name that can be put into a statement as it is.
#[derive(Clone, Debug)]
pub(super) struct Table(Box<str>);

impl Table {
    pub(super) fn new(name: &str) -> Result<Self, InvalidTable> {
        let parts: Vec<&str> = name.split('.').collect();
        let valid = |part: &str| {
            part.len() <= LONGEST
                && part.starts_with(|first: char| first == '_' || first.is_ascii_lowercase())
                && part.chars().all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit())
        };
        // The channel has the whole name.
        let short = name.len() <= LONGEST;
        match short && parts.len() <= 2 && parts.into_iter().all(valid) {
            true => Ok(Self(name.into())),
            false => Err(InvalidTable(())),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.0
    }

    /// Where the ends of claims are told that somebody waits for.
    pub(super) fn channel(&self) -> &str {
        &self.0
    }
}

impl Default for Table {
    fn default() -> Self {
        Self(DEFAULT.into())
    }
}

/// A name that is not taken for a table's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidTable(());

impl fmt::Display for InvalidTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "use a table name of lower-case letters, digits and `_` that does not begin with a \
             digit, after a schema name and a dot if need be, of 63 bytes at most",
        )
    }
}

impl Error for InvalidTable {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_needs_quotes_is_refused() {
        for name in ["records", "app.records", "_r2", DEFAULT] {
            assert_eq!(Table::new(name).expect("valid").name(), name);
        }
        let long = "r".repeat(64);
        for name in ["", "Records", "2r", "a.b.c", "a.", ".b", "r;", "r-s", "r s", "r\"", &long] {
            assert!(Table::new(name).is_err(), "{name}");
        }
    }
}
