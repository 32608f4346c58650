//! One method at one address, with what is told of it.
//!
//! A route is made with its description: what it asks for and what it answers are the types that its
//! handler reads and writes, so that neither can say what the other does not do.

use std::fmt;

use axum::{
    extract::Request,
    handler::Handler,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{self, MethodRouter},
};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::{Trouble, kinds::Kind};

/// One method at one address; see the [module docs](self).
pub(super) struct Route<S> {
    operation: Operation,
    handler: MethodRouter<S>,
}

/// What is told of a route.
#[derive(Clone)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    /// Below the prefix of its router.
    pub(super) path: &'static str,
    /// What programs that are made from the description call it.
    pub(super) id: &'static str,
    /// What it does, in a sentence.
    pub(super) summary: &'static str,
    /// What else is to be known; may be empty.
    pub(super) more: &'static str,
    pub(super) query: Option<SchemaOf>,
    pub(super) body: Option<SchemaOf>,
    pub(super) answers: Vec<Answer>,
    /// Those that are its own; see [`openapi`](super::openapi) for those that others share.
    pub(super) problems: Vec<Kind>,
}

/// Makes the schema of a type.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One way in which all can be well.
#[derive(Clone, Copy)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) what: &'static str,
    pub(super) content: Content,
}

/// What an answer holds.
#[derive(Clone, Copy)]
pub(super) enum Content {
    /// JSON of this schema.
    Json(SchemaOf),
    /// Text of this type.
    Text(&'static str),
}

// === impl Route ===

impl<S: Clone + Send + Sync + 'static> Route<S> {
    pub(super) fn get<H: Handler<T, S>, T: 'static>(
        path: &'static str,
        id: &'static str,
        handler: H,
    ) -> Self {
        Self::new("GET", path, id, routing::get(handler))
    }

    pub(super) fn put<H: Handler<T, S>, T: 'static>(
        path: &'static str,
        id: &'static str,
        handler: H,
    ) -> Self {
        Self::new("PUT", path, id, routing::put(handler))
    }

    pub(super) fn post<H: Handler<T, S>, T: 'static>(
        path: &'static str,
        id: &'static str,
        handler: H,
    ) -> Self {
        Self::new("POST", path, id, routing::post(handler))
    }

    pub(super) fn delete<H: Handler<T, S>, T: 'static>(
        path: &'static str,
        id: &'static str,
        handler: H,
    ) -> Self {
        Self::new("DELETE", path, id, routing::delete(handler))
    }

    fn new(
        method: &'static str,
        path: &'static str,
        id: &'static str,
        handler: MethodRouter<S>,
    ) -> Self {
        let operation = Operation {
            method,
            path,
            id,
            summary: "",
            more: "",
            query: None,
            body: None,
            answers: Vec::new(),
            problems: Vec::new(),
        };
        Self { operation, handler }
    }

    /// What it does, in a sentence.
    pub(super) const fn does(mut self, summary: &'static str) -> Self {
        self.operation.summary = summary;
        self
    }

    /// What else is to be known.
    pub(super) const fn with(mut self, more: &'static str) -> Self {
        self.operation.more = more;
        self
    }

    /// What may be in the query.
    pub(super) fn asks<T: JsonSchema>(mut self) -> Self {
        self.operation.query = Some(T::json_schema);
        self
    }

    /// What must be in the body.
    pub(super) fn takes<T: JsonSchema>(mut self) -> Self {
        self.operation.body = Some(SchemaGenerator::subschema_for::<T>);
        self
    }

    /// How it answers when all is well.
    pub(super) fn answers<T: JsonSchema>(mut self, status: u16, what: &'static str) -> Self {
        self.operation.answers.push(Answer {
            status,
            what,
            content: Content::Json(SchemaGenerator::subschema_for::<T>),
        });
        self
    }

    /// The same, with text of the type `media`.
    pub(super) fn answers_text(
        mut self,
        status: u16,
        what: &'static str,
        media: &'static str,
    ) -> Self {
        self.operation.answers.push(Answer {
            status,
            what,
            content: Content::Text(media),
        });
        self
    }

    /// What can be in the way of it and not of every other.
    pub(super) fn fails(mut self, problems: &[Kind]) -> Self {
        self.operation.problems.extend_from_slice(problems);
        self
    }

    pub(super) const fn operation(&self) -> &Operation {
        &self.operation
    }

    /// For the router, which takes the address, too. What asks for nothing in a query refuses one: a
    /// misspelt wish must not be passed over.
    pub(super) fn into_strict(self) -> (&'static str, MethodRouter<S>) {
        let handler = match self.operation.query {
            Some(_) => self.handler,
            None => self.handler.route_layer(middleware::from_fn(no_query)),
        };
        (self.operation.path, handler)
    }

    /// The same, for probes, whose callers add what they like.
    pub(super) fn into_lenient(self) -> (&'static str, MethodRouter<S>) {
        (self.operation.path, self.handler)
    }
}

impl<S> fmt::Debug for Route<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.operation.method, self.operation.path)
    }
}

async fn no_query(request: Request, next: Next) -> Response {
    if request.uri().query().unwrap_or_default().is_empty() {
        next.run(request).await
    } else {
        let what = "this address takes no parameters".to_owned();
        Trouble::Parameter { name: None, what }.into_response()
    }
}
