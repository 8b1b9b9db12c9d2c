//! tmp
#[test]
fn all() {
    for f in walk("../../experiments") {
        let t = std::fs::read_to_string(&f).unwrap();
        let r = shakedown_plan::compile(
            &shakedown_plan::Source {
                path: &f,
                text: &t,
                name: "x",
            },
            &Default::default(),
        );
        match r {
            Ok(p) => println!("ok {} {}", f, p.len()),
            Err(e) => println!("ERR {}\n{}", f, e),
        }
    }
}
fn walk(d: &str) -> Vec<String> {
    let mut v = vec![];
    for e in std::fs::read_dir(d).unwrap() {
        let p = e.unwrap().path();
        if p.is_dir() {
            v.extend(walk(p.to_str().unwrap()))
        } else if p.extension().is_some_and(|x| x == "toml") {
            v.push(p.to_str().unwrap().into())
        }
    }
    v
}
