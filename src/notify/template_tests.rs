//! Templates: what they may say, what is refused, and what data cannot do through them.

use super::*;
use crate::notify::example;

fn load(source: &str, form: Form) -> Result<Template, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.txt");
    std::fs::write(&file, source).unwrap();
    Template::load(&file, form)
        .map_err(|problem| problem.replace(&format!("{}/", folder.path().display()), ""))
}

#[test]
fn a_template_names_what_a_message_has() {
    let source = "{{ word }}: {{ summary }}{% for a in alerts %}\n- {{ a.item.subject }} \
                  {{ a.item.effect | number }} lost {{ a.loss_share | percent }}\
                  {% for b in a.item.bins %} {{ b.label }}{% endfor %}{% endfor %}\n{{ group.labels.rule }} {{ model }} {{ note }}";
    let text = load(source, Form::Plain).unwrap().try_render(&example("temp")).unwrap();
    assert!(text.starts_with("Test: temp drifted\n- temp 3.40 lost 0.2 % (-inf, 8.2]"), "{text}");
    assert!(text.contains("\nReceiverTest bike-demand Somebody asked"), "{text}");
}

#[test]
fn what_is_wrong_is_found_on_loading_with_its_line() {
    for (source, expected) in [
        ("a\n{{ sumary }}", "t.txt:2: unknown name `sumary`, did you mean `summary`?"),
        ("{% if false %}\n{{ statu }}{% endif %}", "t.txt:2: unknown name `statu`, did you mean `status`?"),
        (
            "\n\n{% for a in alerts %}{{ a.item.subjct }}{% endfor %}",
            "t.txt:3: unknown name `subjct`, did you mean `subject`?; `| default('…')`",
        ),
        ("{{ group.lables.rule }}", "t.txt:1: unknown name `lables`, did you mean `labels`?"),
        ("x\n{% for a in alerts %}", "t.txt:2: unexpected end of input"),
        ("{{ summary | shout }}", "t.txt:1: filter shout is unknown"),
        ("{% include 'x' %}", "t.txt:1: unknown statement include"),
        ("{% for i in range(99999) %}{{ i }}{% endfor %}", "t.txt:1: takes more than 200000 steps"),
    ] {
        let problem = load(source, Form::Plain).map(drop).unwrap_err();
        assert!(problem.starts_with(expected), "{source}: {problem}");
    }
    assert!(load("{{ group.labels.team | default('-') }}", Form::Plain).is_ok());
    assert!(load(&"x".repeat(MAX_SOURCE + 1), Form::Plain).unwrap_err().contains("more than"));
}

#[test]
fn a_template_cannot_run_for_long_or_write_much() {
    let nested = |depth: usize| {
        let open = "{% for a in alerts %}".repeat(depth);
        format!("{open}x{}", "{% endfor %}".repeat(depth))
    };
    let problem = load(&nested(20), Form::Plain).unwrap_err();
    assert!(problem.contains("takes more than 200000 steps"), "{problem}");
    let long = format!("{{% for a in alerts %}}{}{{% endfor %}}", "{{ summary * 1000 }}".repeat(10));
    assert!(load(&long, Form::Plain).unwrap_err().contains("more than 262144 bytes"));
}

#[test]
fn data_is_escaped_for_where_it_goes() {
    let odd = "<b>\"&\"</b>\r\nBcc: x";
    let message = example(odd);
    let render = |source: &str, form: Form| load(source, form).unwrap().try_render(&message).unwrap();
    let html = render("<p title=\"{{ summary }}\">{{ summary }}</p>", Form::Html);
    assert_eq!(html.matches(['<', '>']).count(), 4, "{html}");
    assert_eq!(html.matches('"').count(), 2, "{html}");
    let slack = render("*{{ summary }}*", Form::Slack);
    assert!(slack.starts_with("*&lt;b&gt;\"&amp;\"&lt;/b&gt;"), "{slack}");
    let json = render(
        "{\"text\": {{ summary }}, \"rows\": {{ alerts[0].rows }}, \"no\": {{ nothing | default(none) }}}"
            .replace("nothing", "group.labels.team")
            .as_str(),
        Form::Json,
    );
    let json: Json = serde_json::from_str(&json).unwrap();
    assert_eq!(json["text"], format!("{odd} drifted"));
    assert_eq!((json["rows"].as_u64(), json["no"].is_null()), (Some(1200), true));
    let texts =
        Texts { subject: Some(load("{{ summary }}\r\n\r\nbody", Form::Plain).unwrap()), ..Texts::default() };
    let subject = texts.subject(&message).unwrap();
    assert_eq!(subject, "<b>\"&\"</b> Bcc: x drifted body");
}

#[test]
fn a_body_that_is_no_json_is_found_on_loading() {
    for source in ["{\"text\": \"{{ summary }}\"}", "{\"text\": {{ summary }}", "text"] {
        let problem = load(source, Form::Json).unwrap_err();
        assert!(problem.contains("what it gives is not JSON"), "{source}: {problem}");
    }
}

#[test]
fn a_message_that_a_template_cannot_tell_is_told_by_the_built_in_text() {
    let template = load("{{ alerts[1].item.effect + 1 }}", Form::Plain).unwrap();
    let mut message = example("temp");
    message.alerts.truncate(1);
    assert_eq!(template.try_render(&message), None);
}
