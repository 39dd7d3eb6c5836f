//! Names of headers as brokers have them, made those that payloads are read by.

/// Headers of one message that are looked at.
pub(super) const MAX_HEADERS: usize = 128;

/// The name in lower case.
pub(super) fn lower(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// The header that an application property of AMQP is: `cloudEvents:id` and `cloudEvents_id` are `ce-id`.
pub(super) fn from_amqp(name: &str) -> String {
    let name = lower(name);
    for prefix in ["cloudevents:", "cloudevents_"] {
        if let Some(attribute) = name.strip_prefix(prefix) {
            return format!("ce-{attribute}");
        }
    }
    name
}

/// The header that one of Kafka is: `ce_id` is `ce-id`; Seldon's and `MLServer`'s keep their names.
#[cfg(any(test, feature = "kafka"))]
pub(super) fn from_kafka(name: &str) -> String {
    let name = lower(name);
    match name.strip_prefix("ce_") {
        Some(attribute) => format!("ce-{attribute}"),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_have_one_name_whatever_the_broker() {
        for (name, expected) in [
            ("cloudEvents:id", "ce-id"),
            ("cloudEvents_specversion", "ce-specversion"),
            ("CLOUDEVENTS:Type", "ce-type"),
            ("ce-id", "ce-id"),
            ("X-Request-Id", "x-request-id"),
            ("cloudEventsid", "cloudeventsid"),
        ] {
            assert_eq!(from_amqp(name), expected);
        }
        for (name, expected) in [
            ("ce_id", "ce-id"),
            ("Ce_Type", "ce-type"),
            ("mlserver-model", "mlserver-model"),
            ("seldon-pipeline-errors", "seldon-pipeline-errors"),
            ("cert", "cert"),
        ] {
            assert_eq!(from_kafka(name), expected);
        }
    }
}
