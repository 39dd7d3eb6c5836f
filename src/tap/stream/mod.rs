//! Brokers as sources: each message is handed over in its order and acknowledged when it is stored.

pub(in crate::tap) mod feed;
mod headers;
#[cfg(feature = "kafka")]
mod kafka;
mod nats;
mod pump;
mod rabbitmq;

#[cfg(feature = "kafka")]
pub(in crate::tap) use self::kafka::Kafka;
pub(in crate::tap) use self::nats::Nats;
pub(in crate::tap) use self::pump::pause;
pub(in crate::tap) use self::rabbitmq::Rabbit;
