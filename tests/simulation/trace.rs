//! Everything that happens, in order: hashed, to compare two runs of a seed, and readable.

use std::hash::{DefaultHasher, Hash, Hasher as _};

#[derive(Debug, Default)]
pub struct Trace {
    hasher: DefaultHasher,
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    at: u64,
    key: Option<usize>,
    text: String,
}

impl Trace {
    pub fn add(&mut self, at: u64, key: Option<usize>, text: String) {
        (at, key, &text).hash(&mut self.hasher);
        self.lines.push(Line { at, key, text });
    }

    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// The last lines that concern a key, or all keys.
    pub fn tail(&self, key: Option<usize>, count: usize) -> String {
        let concerned = |line: &&Line| key.is_none() || line.key.is_none() || line.key == key;
        let mut lines: Vec<&Line> = self.lines.iter().filter(concerned).collect();
        lines.sort_by_key(|line| line.at);
        let skipped = lines.len().saturating_sub(count);
        let mut text = format!("({skipped} earlier lines)\n");
        for line in &lines[skipped..] {
            let key = line.key.map_or_else(String::new, |key| format!(" key {key}"));
            text += &format!("{:>6} ms{key}: {}\n", line.at, line.text);
        }
        text
    }
}
