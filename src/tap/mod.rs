//! The tap: a transparent proxy in front of the model server, and a bounded copy of what passes.
//!
//! The proxy awaits nothing but the model server. What it copies goes into a queue bounded in bytes, and a decoding
//! thread takes it from there; every exchange that it saw is accounted for in the ledger, exactly once.

mod absent;
mod body;
mod client;
mod connect;
mod copy;
mod fields;
mod files;
mod headers;
mod ids;
pub mod ingest;
mod ledger;
mod named;
mod names;
mod observe;
mod proxy;
mod queue;
mod recognise;
mod record;
mod relay;
mod routes;
mod server;
mod shed;
mod sources;
mod stream;
mod tls;
mod traffic;
mod upstream;

pub use self::ledger::{Ledger, MinuteLosses, Ticket};
pub use self::names::Names;
pub use self::proxy::{Proxy, ProxyError, TapSettings};
pub use self::queue::{Closed, ExchangeQueue, ExchangeReceiver, Received, Reservation, queue};
pub use self::record::{DecodedExchange, Recorded};
pub use self::sources::{SourceContext, Sources};
pub use self::tls::TlsError;
pub use self::traffic::Traffic;
