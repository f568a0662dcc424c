//! JSON documents that can be written down in more than one way.

use std::fmt::Write as _;

use arbitrary::{Result, Unstructured};

/// How deep a document may be.
const DEPTH: u32 = 6;

/// A document whose numbers are exact as doubles, and whose members have different names.
#[derive(Clone, Debug)]
pub enum Document {
    Null,
    Bool(bool),
    /// This number, times ten to the power of the other.
    Number(i32, i8),
    String(String),
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Document {
    pub fn any(u: &mut Unstructured<'_>) -> Result<Self> {
        Self::within(u, DEPTH)
    }

    fn within(u: &mut Unstructured<'_>, depth: u32) -> Result<Self> {
        Ok(match u.int_in_range(0..=if depth == 0 { 3 } else { 5 })? {
            0 => Self::Null,
            1 => Self::Bool(u.arbitrary()?),
            2 => Self::Number(u.arbitrary()?, u.int_in_range(-9..=5)?),
            3 => Self::String(u.arbitrary()?),
            4 => {
                let len = u.int_in_range(0..=4)?;
                Self::Array((0..len).map(|_| Self::within(u, depth - 1)).collect::<Result<_>>()?)
            }
            _ => {
                let mut members: Vec<(String, Self)> = Vec::new();
                for _ in 0..u.int_in_range(0..=4)? {
                    let name: String = u.arbitrary()?;
                    if members.iter().all(|(other, _)| *other != name) {
                        members.push((name, Self::within(u, depth - 1)?));
                    }
                }
                Self::Object(members)
            }
        })
    }

    /// The same with one value changed.
    pub fn changed(&self, u: &mut Unstructured<'_>) -> Result<Self> {
        let mut changed = self.clone();
        match &mut changed {
            Self::Null => changed = Self::Bool(false),
            Self::Bool(value) => *value = !*value,
            Self::Number(number, _) => *number = number.wrapping_add(1),
            Self::String(text) => text.push('1'),
            Self::Array(values) if values.is_empty() => values.push(Self::Null),
            Self::Array(values) => {
                let value = u.choose_index(values.len())?;
                values[value] = values[value].changed(u)?;
            }
            Self::Object(members) if members.is_empty() => {
                members.push((String::new(), Self::Null));
            }
            Self::Object(members) => {
                let member = u.choose_index(members.len())?;
                members[member].1 = members[member].1.changed(u)?;
            }
        }
        Ok(changed)
    }

    /// One way to write it down.
    pub fn layout(&self, u: &mut Unstructured<'_>) -> Result<String> {
        let mut text = String::new();
        self.write(u, &mut text)?;
        Ok(text)
    }

    fn write(&self, u: &mut Unstructured<'_>, text: &mut String) -> Result<()> {
        space(u, text)?;
        match self {
            Self::Null => text.push_str("null"),
            Self::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
            Self::Number(number, exponent) => write_number(*number, *exponent, u, text)?,
            Self::String(value) => write_string(value, u, text)?,
            Self::Array(values) => {
                text.push('[');
                for (place, value) in values.iter().enumerate() {
                    text.push_str(if place == 0 { "" } else { "," });
                    value.write(u, text)?;
                }
                text.push(']');
            }
            Self::Object(members) => {
                text.push('{');
                let first = if members.is_empty() { 0 } else { u.choose_index(members.len())? };
                let (before, after) = members.split_at(first);
                for (place, (name, value)) in after.iter().chain(before).enumerate() {
                    text.push_str(if place == 0 { "" } else { "," });
                    space(u, text)?;
                    write_string(name, u, text)?;
                    space(u, text)?;
                    text.push(':');
                    value.write(u, text)?;
                }
                text.push('}');
            }
        }
        space(u, text)
    }
}

fn space(u: &mut Unstructured<'_>, text: &mut String) -> Result<()> {
    text.push_str(u.choose::<&str>(&["", "", " ", "\t", "\r\n"])?);
    Ok(())
}

/// `12` times a thousand can be `12000`, `12e3`, `12.0E+3`, `1200e1`.
fn write_number(
    number: i32,
    exponent: i8,
    u: &mut Unstructured<'_>,
    text: &mut String,
) -> Result<()> {
    let zeros = u.int_in_range(0..=3_i8)?;
    let (mantissa, rest) =
        (i64::from(number) * 10_i64.pow(zeros.unsigned_abs().into()), exponent - zeros);
    let _ = match u.int_in_range(0..=2)? {
        0 if rest == 0 => write!(text, "{mantissa}"),
        1 => write!(text, "{mantissa}.0e{rest}"),
        _ => write!(text, "{mantissa}E{rest:+}"),
    };
    Ok(())
}

fn write_string(value: &str, u: &mut Unstructured<'_>, text: &mut String) -> Result<()> {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' | '\0'..='\x1f' => escape(c, text),
            _ if u.ratio(1, 4)? => escape(c, text),
            _ => text.push(c),
        }
    }
    text.push('"');
    Ok(())
}

fn escape(c: char, text: &mut String) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        let _ = write!(text, "\\u{unit:04x}");
    }
}
