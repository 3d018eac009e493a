//! Enums whose variants have names.

/// Declares an enum and the names of its variants together, so that no list of them can be incomplete: `ALL`, `name` and
/// `from_name` follow.
#[macro_export]
macro_rules! named {
    (
        $(#[$about:meta])*
        $visibility:vis enum $Enum:ident {
            $($(#[$doc:meta])* $variant:ident = $name:literal,)*
        }
    ) => {
        $(#[$about])*
        $visibility enum $Enum {
            $($(#[$doc])* $variant,)*
        }

        impl $Enum {
            /// All of them.
            $visibility const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name in plans and reports.
            #[must_use]
            $visibility const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The one of this name.
            #[must_use]
            $visibility fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.name() == name)
            }
        }
    };
}
