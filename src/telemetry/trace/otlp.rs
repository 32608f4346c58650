//! Spans as OTLP has them: `ExportTraceServiceRequest` of opentelemetry-proto 1.x, in protobuf.
//!
//! Written by hand, because it is a page: the wire format has two shapes that are needed here, and the
//! numbers of fields never change. What the official types make of it is tested.

use super::{Kind, Span, SpanContext, Value};

/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK`, `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`.
const KNOWS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;
/// `STATUS_CODE_ERROR`.
const ERROR: u64 = 2;

/// A protobuf message, as far as it is written.
#[derive(Default)]
struct Message(Vec<u8>);

/// `spans` of the process that `resource` describes, as the body of a request.
pub(super) fn encode(resource: &[(&'static str, Value)], spans: &[Span]) -> Vec<u8> {
    let mut described = Message::default();
    for (name, value) in resource {
        described.message(1, &key_value(name, value));
    }
    let mut scope = Message::default();
    scope.text(1, "daypass");
    scope.text(2, env!("CARGO_PKG_VERSION"));
    let mut of_scope = Message::default();
    of_scope.message(1, &scope);
    for span in spans {
        of_scope.message(2, &message_of(span));
    }
    let mut of_resource = Message::default();
    of_resource.message(1, &described);
    of_resource.message(2, &of_scope);
    let mut request = Message::default();
    request.message(1, &of_resource);
    request.0
}

fn message_of(span: &Span) -> Message {
    let mut message = Message::default();
    message.bytes(1, &span.context.trace_id);
    message.bytes(2, &span.context.span_id);
    if let Some(state) = span
        .tracestate
        .as_ref()
        .and_then(|state| state.to_str().ok())
    {
        message.text(3, state);
    }
    if let Some(parent) = &span.parent {
        message.bytes(4, parent);
    }
    message.text(5, &span.name);
    message.number(
        6,
        match span.kind {
            Kind::Internal => 1,
            Kind::Server => 2,
            Kind::Client => 3,
        },
    );
    message.fixed64(7, span.start);
    message.fixed64(8, span.end);
    for (name, value) in &span.attributes {
        message.message(9, &key_value(name, value));
    }
    for link in &span.links {
        message.message(13, &message_of_link(link));
    }
    if span.is_error {
        let mut status = Message::default();
        status.number(3, ERROR);
        message.message(15, &status);
    }
    let remote = if span.is_parent_remote { IS_REMOTE } else { 0 };
    message.fixed32(16, flags(&span.context) | remote);
    message
}

fn message_of_link(link: &SpanContext) -> Message {
    let mut message = Message::default();
    message.bytes(1, &link.trace_id);
    message.bytes(2, &link.span_id);
    message.fixed32(6, flags(link));
    message
}

fn flags(context: &SpanContext) -> u32 {
    u32::from(context.is_sampled) | KNOWS_REMOTE
}

fn key_value(name: &str, value: &Value) -> Message {
    let mut any = Message::default();
    match value {
        Value::Text(text) => any.text(1, text),
        Value::Truth(truth) => any.number(2, u64::from(*truth)),
        // As protobuf has negative numbers of this type: in two's complement.
        Value::Number(number) => any.number(3, number.cast_unsigned()),
    }
    let mut message = Message::default();
    message.text(1, name);
    message.message(2, &any);
    message
}

// === impl Message ===

impl Message {
    fn varint(&mut self, mut number: u64) {
        loop {
            let [low, ..] = number.to_le_bytes();
            number >>= 7;
            if number == 0 {
                return self.0.push(low & 0x7f);
            }
            self.0.push(low | 0x80);
        }
    }

    fn tag(&mut self, field: u64, wire_type: u64) {
        self.varint(field << 3 | wire_type);
    }

    fn number(&mut self, field: u64, number: u64) {
        self.tag(field, 0);
        self.varint(number);
    }

    fn fixed64(&mut self, field: u64, number: u64) {
        self.tag(field, 1);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn fixed32(&mut self, field: u64, number: u32) {
        self.tag(field, 5);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.tag(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, field: u64, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    fn message(&mut self, field: u64, message: &Self) {
        self.bytes(field, &message.0);
    }
}
