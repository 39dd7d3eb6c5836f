//! Which model an event is about: by its name, by an alias of the settings, or by where it came in.

use std::collections::HashMap;

use crate::config::Settings;
use crate::model::ModelName;

/// The component of an inference service whose exchanges are those of the model itself.
const PREDICTOR: &str = "predictor";

/// The names of the monitored models.
#[derive(Debug, Clone, Default)]
pub struct Names {
    known: HashMap<String, ModelName>,
    unnamed: Option<ModelName>,
}

impl Names {
    /// The names and aliases of `settings`.
    pub fn new(settings: &Settings) -> Self {
        let mut known = HashMap::new();
        for model in &settings.models {
            for name in std::iter::once(model.name.as_str()).chain(model.aliases.iter().map(String::as_str)) {
                known.insert(name.to_owned(), model.name.clone());
            }
        }
        let only = match settings.models.as_slice() {
            [model] => Some(model.name.clone()),
            _ => None,
        };
        Self { known, unnamed: settings.sink.model.clone().or(only) }
    }

    /// The model that an event names, else that of the message, else the one for events that name none; absent when it
    /// is not monitored.
    ///
    /// `service/component/endpoint` is looked up as a whole, then without its endpoint; the predictor of a service is
    /// the service itself, its other components are not.
    pub fn find(&self, named: Option<&str>, of_message: Option<&ModelName>) -> Option<&ModelName> {
        let Some(named) = named.filter(|name| !name.is_empty()) else {
            return self.known.get(of_message.or(self.unnamed.as_ref())?.as_str());
        };
        let mut parts = named.split('/');
        let (service, component) = (parts.next()?, parts.next());
        self.known.get(named).or_else(|| self.known.get(&format!("{service}/{}", component?))).or_else(|| {
            self.known.get(service).filter(|_| component.is_some_and(|c| c == PREDICTOR || c.is_empty()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(settings: &str, named: Option<&str>, of_message: Option<&str>) -> Option<String> {
        let known = Names::new(&Settings::parse(settings, "s").unwrap());
        let of_message = of_message.map(|name| ModelName::parse(name).unwrap());
        known.find(named, of_message.as_ref()).map(ToString::to_string)
    }

    #[test]
    fn names_aliases_and_services_lead_to_models() {
        let two = "models: [{name: a, aliases: [iris, iris/transformer, up/predictor/canary]}, {name: b}]";
        for (named, expected) in [
            ("a", Some("a")),
            ("b", Some("b")),
            ("iris", Some("a")),
            ("iris/predictor", Some("a")),
            ("iris/predictor/default", Some("a")),
            ("iris//canary", Some("a")),
            ("iris/transformer", Some("a")),
            ("iris/transformer/default", Some("a")),
            ("iris/explainer", None),
            ("b/transformer", None),
            ("up/predictor/canary", Some("a")),
            ("up/predictor/default", None),
            ("nobody", None),
        ] {
            assert_eq!(found(two, Some(named), None).as_deref(), expected, "{named}");
        }
        assert_eq!(found(two, None, Some("b")).as_deref(), Some("b"));
        assert_eq!(found(two, Some(""), Some("nobody")), None, "a source may name what is not monitored");
        assert_eq!(found(two, None, None), None, "two models, and nothing says which");
        assert_eq!(found("models: [{name: a}]", None, None).as_deref(), Some("a"));
        let told = "sink: {model: b}\nmodels: [{name: a}, {name: b}]";
        assert_eq!(found(told, None, None).as_deref(), Some("b"));
    }
}
