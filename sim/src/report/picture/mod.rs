//! Runs and explorations as pages to look at.
//!
//! A page is one file that needs nothing else: no network, no fonts, and no script to be read or printed. The drawing
//! is made here, completely; the script of a run's page only filters, zooms and shows what is under the pointer.
//! Everything that comes from a plan or a trace reaches the page through a template that escapes it, and none of it
//! reaches the script.
//!
//! - `story` reads a trace: lanes, spans, arrows, and who each record is about.
//! - `layout` says where lanes and records are; the script repeats its sums when something is filtered or zoomed.
//! - `drawing` and `overview` are the two drawings of a run, `page` the page around them, `report` the page of an
//!   exploration.

mod drawing;
mod layout;
mod overview;
mod page;
mod report;
mod story;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::base::visible;

pub use page::{Run, of_run};
pub use report::of_explorations;

/// The style of both pages.
const STYLE: &str = include_str!("style.css");

/// A page with everything in it, and no character that does something else than to be seen.
fn document(title: &str, body: &Markup, script: Option<&'static str>) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                // The browser itself holds the page to its word.
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
                style { (PreEscaped(STYLE)) }
            }
            body {
                (body)
                @if let Some(script) = script {
                    script { (PreEscaped(script)) }
                }
            }
        }
    };
    visible::lines(&page.into_string())
}

/// A number with spaces between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// At most `most` characters of `text`, with an ellipsis where it was cut.
fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}
