use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// The value that a client chose to name one operation.
///
/// Case-sensitive and never decoded: two keys are equal if their octets are. A structured-field
/// string (RFC 9651, section 3.3.3) and the same value without quotes are one key; parameters are
/// ignored. `Debug` does not print it, and nothing of this crate logs it.
///
/// ```
/// use tower_idempotency::protocol::{IdempotencyKey, KeySyntax};
///
/// let syntax = KeySyntax::either();
/// let quoted = IdempotencyKey::parse(br#""8e03978e-40d5-43dd";sent=2"#, &syntax)?;
/// let bare = IdempotencyKey::parse(b"8e03978e-40d5-43dd", &syntax)?;
/// assert_eq!(quoted, bare);
/// assert!(IdempotencyKey::parse(b"two, lines", &syntax).is_err());
/// # Ok::<(), tower_idempotency::protocol::InvalidKey>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(Arc<str>);

impl IdempotencyKey {
    /// Parses the value of one header line.
    ///
    /// A first byte `"` means a structured-field string and nothing else; any other first byte means
    /// a bare value of `0x21` to `0x7E` without `"` `,` `;` `\`.
    ///
    /// # Errors
    /// Why the value is not a key under this syntax. The error never contains the value.
    pub fn parse(value: &[u8], syntax: &KeySyntax) -> Result<Self, InvalidKey> {
        let key = match (syntax.form, value.first()) {
            (_, None) => return Err(InvalidKey::Empty),
            (Form::Either | Form::StringOnly, Some(b'"')) => string(value)?,
            (Form::Either | Form::BareOnly, _) => Self(bare(value)?.into()),
            (Form::StringOnly, _) => return Err(InvalidKey::NotAString),
        };
        match key.0.len() {
            0 => Err(InvalidKey::Empty),
            len if len < syntax.min => Err(InvalidKey::TooShort { min: syntax.min }),
            len if len > syntax.max => Err(InvalidKey::TooLong { max: syntax.max }),
            _ => Ok(key),
        }
    }

    /// The key, without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdempotencyKey(..)")
    }
}

/// Which values are keys: the form and the length.
///
/// ```
/// use tower_idempotency::protocol::{IdempotencyKey, InvalidKey, KeySyntax};
///
/// let strict = KeySyntax::string_only().length(16..=64);
/// assert_eq!(IdempotencyKey::parse(b"bare", &strict), Err(InvalidKey::NotAString));
/// assert_eq!(IdempotencyKey::parse(br#""short""#, &strict), Err(InvalidKey::TooShort { min: 16 }));
/// ```
#[derive(Clone, Debug)]
pub struct KeySyntax {
    form: Form,
    min: usize,
    max: usize,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Either,
    StringOnly,
    BareOnly,
}

impl KeySyntax {
    /// A structured-field string, or the same value without quotes: the default.
    #[must_use]
    pub const fn either() -> Self {
        Self::of(Form::Either)
    }

    /// Only a structured-field string, as the draft's section 2.1 asks.
    #[must_use]
    pub const fn string_only() -> Self {
        Self::of(Form::StringOnly)
    }

    /// Only a bare value: a quotation mark is refused.
    #[must_use]
    pub const fn bare_only() -> Self {
        Self::of(Form::BareOnly)
    }

    /// Bounds the length in octets, after unquoting. The default is 1 to 255; a key is never empty.
    #[must_use]
    pub const fn length(mut self, octets: RangeInclusive<usize>) -> Self {
        self.min = *octets.start();
        self.max = *octets.end();
        self
    }

    const fn of(form: Form) -> Self {
        Self { form, min: 1, max: 255 }
    }
}

impl Default for KeySyntax {
    fn default() -> Self {
        Self::either()
    }
}

/// Why a header value is not an idempotency key. Never contains the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidKey {
    /// The value, or the string inside its quotes, is empty.
    Empty,
    /// Shorter than the shortest key accepted here.
    TooShort {
        /// The shortest accepted length in octets.
        min: usize,
    },
    /// Longer than the longest key accepted here.
    TooLong {
        /// The longest accepted length in octets.
        max: usize,
    },
    /// Not a structured-field string (RFC 9651, section 4.2.5).
    NotAString,
    /// A bare value with an octet that bare keys cannot contain.
    InvalidOctet,
    /// More than one field line carries a key.
    Repeated,
    /// The application's own validator refused it.
    Refused,
}

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the key is empty"),
            Self::TooShort { min } => write!(f, "the key has fewer than {min} octets"),
            Self::TooLong { max } => write!(f, "the key has more than {max} octets"),
            Self::NotAString => f.write_str("the value is not a structured-field string"),
            Self::InvalidOctet => f.write_str(
                "a key without quotes consists of visible ASCII other than quotation mark, comma, \
                 semicolon and backslash",
            ),
            Self::Repeated => f.write_str("exactly one header line may carry a key"),
            Self::Refused => f.write_str("this service does not accept keys of this form"),
        }
    }
}

impl std::error::Error for InvalidKey {}

fn bare(value: &[u8]) -> Result<&str, InvalidKey> {
    let allowed = |b: u8| matches!(b, 0x21..=0x7e) & !matches!(b, b'"' | b',' | b';' | b'\\');
    // All octets are looked at, whatever the first ones are: the processor does 16 at once.
    let all_allowed = value.iter().fold(true, |all, octet| all & allowed(*octet));
    match std::str::from_utf8(value) {
        Ok(text) if all_allowed => Ok(text),
        _ => Err(InvalidKey::InvalidOctet),
    }
}

fn string(value: &[u8]) -> Result<IdempotencyKey, InvalidKey> {
    sfv::Parser::new(value)
        .parse_item::<Cow<'_, sfv::StringRef>>()
        .map(|string| IdempotencyKey(string.as_str().into()))
        .map_err(|_| InvalidKey::NotAString)
}
