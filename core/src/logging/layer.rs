//! From tracing's events to lines.

use std::io::Write;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber, span};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::FATAL;
use super::line::{self, Fields};
use super::sink::Sink;
use crate::config::{LogFormat, LogLevel};

/// Makes a line of each event that is loud enough. The fields of the spans around it are part of it, so
/// that a line names the member it is about.
pub(super) struct LineLayer {
    own: LevelFilter,
    foreign: LevelFilter,
    format: LogFormat,
    sink: Sink,
}

/// Fields of a span, ready to be appended.
struct SpanFields(Vec<u8>);

impl LineLayer {
    pub(super) fn new(level: LogLevel, format: LogFormat, sink: Sink) -> Self {
        // What libraries say is one level less important than what we say.
        let (own, foreign) = match level {
            LogLevel::Debug => (LevelFilter::DEBUG, LevelFilter::INFO),
            // The libraries' warnings are about what our own lines tell better.
            LogLevel::Info => (LevelFilter::INFO, LevelFilter::ERROR),
            LogLevel::Warn => (LevelFilter::WARN, LevelFilter::ERROR),
            LogLevel::Error => (LevelFilter::ERROR, LevelFilter::ERROR),
            LogLevel::Fatal => (LevelFilter::OFF, LevelFilter::OFF),
        };
        Self { own, foreign, format, sink }
    }

    fn is_loud_enough(&self, metadata: &Metadata<'_>) -> bool {
        let limit = if metadata.target().starts_with("keelkv") { self.own } else { self.foreign };
        // Spans are kept at every level: their fields belong to the events inside.
        metadata.is_span() || metadata.target() == FATAL || *metadata.level() <= limit
    }
}

impl<S> Layer<S> for LineLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.is_loud_enough(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // Spans at info and fatal events must get through whatever the level is.
        Some(self.own.max(LevelFilter::INFO))
    }

    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(SpanFields(fields.json));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        if let Some(scope) = context.event_scope(event) {
            for span in scope.from_root() {
                if let Some(SpanFields(json)) = span.extensions().get() {
                    // Writing to a Vec cannot fail.
                    let _ = fields.json.write_all(json);
                }
            }
        }
        let level = match *metadata.level() {
            _ if metadata.target() == FATAL => "fatal",
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            _ => "debug",
        };
        let caller = line::caller(metadata.file(), metadata.line());
        self.sink.write(level, line::write(self.format, level, &caller, &fields.message, &fields.json));
    }
}
