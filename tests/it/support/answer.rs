//! What a client got, and what it has to be.

/// An answer as it came over the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// In order; repeated lines stay apart.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, Vec<u8>)>,
}

impl Answer {
    /// The first line of this name, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The values of all lines of this name.
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        let named = self.headers.iter().filter(|(given, _)| given.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_slice()).collect()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub fn is_replay(&self) -> bool {
        self.all("idempotent-replayed") == [b"true"]
    }

    /// The members of a problem document.
    pub fn problem(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        serde_json::from_slice(&self.body).expect("a JSON document")
    }

    /// The status and the code of a problem.
    #[track_caller]
    pub fn is_refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, &self.problem()["code"]), (status, &code.into()), "{self:?}");
        assert!(!self.is_replay(), "{self:?}");
    }

    /// That this is an answer of the handler's own.
    #[track_caller]
    pub fn is_first(&self, body: &str) {
        assert_eq!((self.is_replay(), self.text()), (false, body), "{self:?}");
    }

    /// The same for a first answer that may have been sent before it was stored.
    #[track_caller]
    pub fn is_replay_of_stored(&self, first: &Self) {
        let mut first = first.clone();
        first.headers.retain(|(name, _)| name != "idempotency-status");
        self.is_replay_of(&first);
    }

    /// That this answer is stored and replayed.
    #[track_caller]
    pub fn is_replay_of(&self, first: &Self) {
        assert!(self.is_replay(), "{self:?}");
        let plain = |answer: &Self| {
            let mut answer = answer.clone();
            answer.headers.retain(|(name, _)| name != "date" && name != "idempotent-replayed");
            answer.headers.sort();
            answer
        };
        assert_eq!(plain(self), plain(first));
    }
}
