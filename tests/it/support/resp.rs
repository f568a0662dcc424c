//! Where one message of the Redis protocol ends and the next begins, in both of its versions.

/// One whole message.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    pub bytes: Vec<u8>,
    /// The first text in it: the name of a command or of what is pushed.
    pub word: String,
}

impl Message {
    /// Takes one off the front.
    pub fn take(buffer: &mut Vec<u8>) -> Option<Self> {
        let mut word = String::new();
        let end = end_of_value(buffer, 0, &mut word)?;
        Some(Self { bytes: buffer.drain(..end).collect(), word })
    }

    /// Whether nobody asked for it.
    pub fn is_push(&self) -> bool {
        self.bytes.starts_with(b">")
    }
}

/// Where the value that begins at `start` ends, if all of it is there.
fn end_of_value(buffer: &[u8], start: usize, word: &mut String) -> Option<usize> {
    let line = buffer.get(start..)?.windows(2).position(|pair| pair == b"\r\n")? + start;
    let after = line + 2;
    let number = || std::str::from_utf8(&buffer[start + 1..line]).ok()?.parse::<i64>().ok();
    let values = match buffer[start] {
        // Arrays, sets and pushes.
        b'*' | b'~' | b'>' => number()?,
        b'%' => number()? * 2,
        // An attribute comes before the value that it belongs to.
        b'|' => number()? * 2 + 1,
        // Texts, texts with a format, and long errors.
        b'$' | b'=' | b'!' => return end_of_text(buffer, after, number()?, word),
        // Everything else is a line.
        _ => return Some(after),
    };
    (0..values).try_fold(after, |position, _| end_of_value(buffer, position, word))
}

fn end_of_text(buffer: &[u8], start: usize, len: i64, word: &mut String) -> Option<usize> {
    // A text that is not there has length -1.
    let Ok(len) = usize::try_from(len) else { return Some(start) };
    let text = buffer.get(start..start + len + 2)?;
    if word.is_empty() {
        *word = String::from_utf8_lossy(&text[..len]).into_owned();
    }
    Some(start + len + 2)
}
