//! Operator scopes (protocol 6.9).

/// The scopes the model knows; others are granted by name and open nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Read,
    Write,
    Admin,
    Approvals,
    Questions,
    Pairing,
    Talk,
    TalkSecrets,
}

impl Scope {
    /// The scope's name on the wire.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Scope::Read => "operator.read",
            Scope::Write => "operator.write",
            Scope::Admin => "operator.admin",
            Scope::Approvals => "operator.approvals",
            Scope::Questions => "operator.questions",
            Scope::Pairing => "operator.pairing",
            Scope::Talk => "operator.talk",
            Scope::TalkSecrets => "operator.talk.secrets",
        }
    }

    /// The scope of this name.
    pub(super) fn named(name: &str) -> Option<Scope> {
        ALL.iter().copied().find(|scope| scope.name() == name)
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

const ALL: [Scope; 8] = [
    Scope::Read,
    Scope::Write,
    Scope::Admin,
    Scope::Approvals,
    Scope::Questions,
    Scope::Pairing,
    Scope::Talk,
    Scope::TalkSecrets,
];

/// A list of scopes as requested or granted: the names in their order, and what they open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Scopes {
    names: Vec<Box<str>>,
    opens: u16,
}

impl Scopes {
    pub(super) fn new(names: Vec<Box<str>>) -> Self {
        let mut opens = 0;
        for name in &names {
            opens |= match Scope::named(name) {
                Some(Scope::Admin) => u16::MAX,
                Some(Scope::Write) => Scope::Write.bit() | Scope::Read.bit() | Scope::Talk.bit(),
                Some(scope @ (Scope::Read | Scope::Approvals | Scope::Questions | Scope::Pairing)) => {
                    scope.bit()
                }
                Some(scope @ (Scope::Talk | Scope::TalkSecrets)) => scope.bit(),
                None => 0,
            };
        }
        Scopes { names, opens }
    }

    pub(super) fn allow(&self, scope: Scope) -> bool {
        self.opens & scope.bit() != 0
    }

    /// Whether every scope of `wanted` is opened by these.
    pub(super) fn cover(&self, wanted: &Scopes) -> bool {
        wanted.names.iter().all(|name| match Scope::named(name) {
            Some(scope) => self.allow(scope),
            None => self.names.contains(name),
        })
    }

    /// These scopes and those of `more` that are not among them.
    pub(super) fn union(&self, more: &Scopes) -> Scopes {
        let mut names = self.names.clone();
        for name in &more.names {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        Scopes::new(names)
    }

    /// The same scopes in alphabetical order.
    pub(super) fn sorted(mut self) -> Scopes {
        self.names.sort();
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The names, in their order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// The names, joined by commas as the device proof signs them (protocol 7.2).
    pub(super) fn joined(&self) -> String {
        self.names.join(",")
    }

    /// The names as a JSON array.
    pub(super) fn json(&self) -> String {
        let mut out = String::from("[");
        for (index, name) in self.names.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            super::frame::push_string(&mut out, name);
        }
        out.push(']');
        out
    }
}
