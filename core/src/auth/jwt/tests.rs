use data_encoding::BASE64URL_NOPAD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_800_000_000;

fn path(file: &str) -> String {
    format!("{}/src/auth/jwt/testdata/{file}", env!("CARGO_MANIFEST_DIR"))
}

fn load(options: &str) -> Result<Jwt, String> {
    Jwt::from_options(options, crate::config::duration::parse)
}

/// With these files of the test data; none where the name is empty.
fn jwt(method: &str, private: &str, public: &str) -> Jwt {
    let file =
        |option: &str, name: &str| if name.is_empty() { String::new() } else { format!(",{option}={}", path(name)) };
    load(&format!("sign-method={method}{}{}", file("priv-key", private), file("pub-key", public))).unwrap()
}

fn error(options: &str) -> String {
    load(&options.replace("DIR/", &path(""))).expect_err("an error")
}

/// Private, public, and another's public key; a shared secret has none of these.
fn keys(method: &str) -> (&'static str, &'static str, &'static str) {
    match method {
        "HS256" | "HS384" | "HS512" => ("hmac.key", "", ""),
        "ES256" => ("p256.pem", "p256-pub.pem", "p256-other-pub.pem"),
        "ES384" => ("p384.pem", "p384-pub.pem", "p384-other-pub.pem"),
        "ES512" => ("p521.pem", "p521-pub.pem", "p521-other-pub.pem"),
        "EdDSA" => ("ed25519.pem", "ed25519-pub.pem", "ed25519-other-pub.pem"),
        _ => ("rsa.pem", "rsa-pub.pem", "rsa-other-pub.pem"),
    }
}

fn methods() -> impl Iterator<Item = &'static str> {
    Method::ALL.into_iter().map(Method::name)
}

fn encode(text: &str) -> String {
    BASE64URL_NOPAD.encode(text.as_bytes())
}

/// A token of `jwt`'s method and key with claims of the caller's.
fn token_of(jwt: &Jwt, claims: &Value) -> String {
    let signed =
        format!("{}.{}", encode(&json!({ "alg": jwt.method.name() }).to_string()), encode(&claims.to_string()));
    let signature = jwt.key.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}

#[test]
fn what_is_signed_is_verified_until_it_expires() {
    for method in methods() {
        let (private, public, _) = keys(method);
        let both = jwt(method, private, public);
        let token = both.sign("alice", 7, NOW).unwrap();
        for now in [NOW, NOW + 299] {
            assert_eq!(both.verify(&token, now), Some(("alice".to_owned(), 7)), "{method}");
        }
        assert_eq!(both.verify(&token, NOW + 300), None, "{method}");
        assert_eq!(jwt(method, private, "").verify(&token, NOW), Some(("alice".to_owned(), 7)), "{method}");
    }
}

#[test]
fn a_public_key_alone_only_verifies() {
    for method in methods().filter(|method| !method.starts_with("HS")) {
        let (private, public, _) = keys(method);
        let reader = jwt(method, "", public);
        let token = jwt(method, private, "").sign("alice", 7, NOW).unwrap();
        assert_eq!(reader.verify(&token, NOW), Some(("alice".to_owned(), 7)), "{method}");
        let refused = reader.sign("alice", 7, NOW).unwrap_err();
        assert_eq!(refused.to_string(), "auth: token signing attempted with verify-only key", "{method}");
    }
}

#[test]
fn another_key_does_not_verify() {
    for method in methods().filter(|method| !method.starts_with("HS")) {
        let (private, _, other) = keys(method);
        let token = jwt(method, private, "").sign("alice", 7, NOW).unwrap();
        assert_eq!(jwt(method, "", other).verify(&token, NOW), None, "{method}");
    }
    let token = jwt("HS256", "hmac.key", "").sign("alice", 7, NOW).unwrap();
    assert_eq!(jwt("HS256", "rsa.pem", "").verify(&token, NOW), None);
}

#[test]
fn only_the_configured_method_verifies() {
    for of_token in methods() {
        let (private, _, _) = keys(of_token);
        let token = jwt(of_token, private, "").sign("alice", 7, NOW).unwrap();
        // The same key where it fits, so that nothing but the method refuses.
        for other in methods().filter(|other| *other != of_token) {
            assert_eq!(jwt(other, keys(other).0, "").verify(&token, NOW), None, "{of_token} as {other}");
        }
    }
}

#[test]
fn the_token_does_not_choose_its_method() {
    let claims = encode(r#"{"exp":9000000000,"revision":7,"username":"alice"}"#);
    let reader = jwt("RS256", "", "rsa-pub.pem");
    for alg in ["none", "None", "", "rs256", "RS256"] {
        let signed = format!("{}.{claims}", encode(&json!({ "alg": alg, "typ": "JWT" }).to_string()));
        assert_eq!(reader.verify(&format!("{signed}."), NOW), None, "{alg}");
    }
    // A public key is known to all: as a shared secret it must not do, whatever the header says.
    let forger = jwt("HS256", "rsa-pub.pem", "");
    let forged = forger.sign("alice", 7, NOW).unwrap();
    assert_eq!(reader.verify(&forged, NOW), None);
    let signed = format!("{}.{claims}", encode(r#"{"alg":"RS256","typ":"JWT"}"#));
    let signature = forger.key.sign(signed.as_bytes()).unwrap();
    assert_eq!(reader.verify(&format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature)), NOW), None);
    for header in ["{}", "null", "[]", r#"{"alg":null}"#, r#"{"alg":["RS256"]}"#, "RS256", ""] {
        assert_eq!(reader.verify(&format!("{}.{claims}.", encode(header)), NOW), None, "{header}");
    }
}

#[test]
fn a_changed_token_does_not_verify() {
    for method in methods() {
        let signer = jwt(method, keys(method).0, "");
        let token = signer.sign("alice", 7, NOW).unwrap();
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(signer.verify(&String::from_utf8(changed).unwrap(), NOW), None, "{method}, character {at}");
        }
        let parts: Vec<_> = token.split('.').collect();
        for changed in [
            format!("{token}A"),
            format!("{token}="),
            format!("{token}."),
            format!(".{token}"),
            format!(" {token}"),
            format!("{}.{}", parts[0], parts[1]),
            format!("{}.{}.", parts[0], parts[1]),
            parts[2].to_owned(),
            token[..token.len() - 4].to_owned(),
        ] {
            assert_eq!(signer.verify(&changed, NOW), None, "{method}: {changed}");
        }
    }
}

#[test]
fn claims_are_read_as_the_original_reads_them() {
    let signer = jwt("HS256", "hmac.key", "");
    let verify = |claims: Value| signer.verify(&token_of(&signer, &claims), NOW);
    let with = |name: &str, value: Value| {
        let mut claims = json!({ "username": "alice", "revision": 7 });
        claims[name] = value;
        verify(claims)
    };
    let alice = |revision| Some(("alice".to_owned(), revision));
    // Without a time nothing expires, and 0 is as none.
    assert_eq!(verify(json!({ "username": "alice", "revision": 7 })), alice(7));
    assert_eq!(with("exp", json!(0)), alice(7));
    assert_eq!(with("exp", json!(NOW + 1)), alice(7));
    assert_eq!(with("exp", json!(NOW as f64 + 1.9)), alice(7));
    for refused in [json!(NOW), json!(NOW as f64 + 0.9), json!(-1), json!("soon"), json!(null), json!([NOW + 9])] {
        assert_eq!(with("exp", refused.clone()), None, "exp {refused}");
    }
    for taken in [json!(0), json!(NOW), json!(NOW as f64 + 0.9), json!(-1)] {
        assert_eq!(with("nbf", taken.clone()), alice(7), "nbf {taken}");
    }
    for refused in [json!(NOW + 1), json!("now"), json!(null)] {
        assert_eq!(with("nbf", refused.clone()), None, "nbf {refused}");
    }
    for unread in ["iat", "aud", "iss", "sub", "jti"] {
        assert_eq!(with(unread, json!(NOW + 1000)), alice(7), "{unread}");
    }
    for (revision, read) in [(json!(0), 0), (json!(7.9), 7), (json!(1e3), 1000), (json!(u64::MAX), u64::MAX)] {
        assert_eq!(with("revision", revision), alice(read));
    }
    for refused in [json!("7"), json!(null), json!(-1), json!({}), json!(true)] {
        assert_eq!(with("revision", refused.clone()), None, "revision {refused}");
    }
    for refused in [json!(7), json!(null), json!(["alice"])] {
        assert_eq!(with("username", refused.clone()), None, "username {refused}");
    }
    for refused in [json!({}), json!(null), json!([]), json!({ "username": "alice" }), json!({ "revision": 7 })] {
        assert_eq!(verify(refused.clone()), None, "{refused}");
    }
    for user in ["", "\u{e9}\"\\<&>\n\u{0}", &"a".repeat(8000)] {
        let token = signer.sign(user, u64::MAX, NOW).unwrap();
        assert_eq!(signer.verify(&token, NOW), Some((user.to_owned(), u64::MAX)));
    }
}

#[test]
fn long_tokens_are_refused() {
    let signer = jwt("HS256", "hmac.key", "");
    let token = signer.sign(&"a".repeat(MAX_TOKEN_BYTES), 7, NOW).unwrap();
    assert_eq!(signer.verify(&token, NOW), None);
}

/// Each line of the vectors: who made them stands beside them.
fn vectors() -> impl Iterator<Item = (&'static str, &'static str)> {
    include_str!("testdata/tokens.txt").lines().map(|line| line.split_once(' ').unwrap())
}

#[test]
fn tokens_of_the_original_verify() {
    assert!(vectors().map(|(method, _)| method).eq(methods()));
    for (method, token) in vectors() {
        let (private, public, _) = keys(method);
        for jwt in [jwt(method, private, ""), jwt(method, private, public)] {
            assert_eq!(jwt.verify(token, NOW), Some(("root".to_owned(), 4)), "{method}");
            assert_eq!(jwt.verify(token, 5_000_000_000), None, "{method}");
        }
    }
}

/// Methods without randomness leave nothing to differ in.
#[test]
fn tokens_are_those_of_the_original_to_the_byte() {
    for (method, token) in vectors().filter(|(method, _)| ["HS", "RS", "Ed"].contains(&&method[..2])) {
        let claims = BASE64URL_NOPAD.decode(token.split('.').nth(1).unwrap().as_bytes()).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        let signed = jwt(method, keys(method).0, "").sign("root", 4, claims["exp"].as_i64().unwrap() - 300);
        assert_eq!(signed.as_deref(), Ok(token), "{method}");
    }
}

#[test]
fn keys_are_read_in_every_form() {
    for (method, private, public) in [
        ("RS256", "rsa-pkcs1.pem", "rsa-pub-pkcs1.pem"),
        ("PS512", "rsa-pkcs1.pem", "rsa-cert.pem"),
        ("ES256", "p256-sec1.pem", "p256-cert.pem"),
        ("ES384", "p384-sec1.pem", "p384-pub.pem"),
        ("ES512", "p521-sec1.pem", "p521-pub.pem"),
    ] {
        let token = jwt(method, private, public).sign("alice", 7, NOW).unwrap();
        for reader in [jwt(method, "", public), jwt(method, keys(method).0, keys(method).1)] {
            assert_eq!(reader.verify(&token, NOW), Some(("alice".to_owned(), 7)), "{method}");
        }
    }
}

#[test]
fn the_time_to_live_is_taken() {
    let secret = path("hmac.key");
    for (ttl, seconds) in [("", 300), (",ttl=", 300), (",ttl=1h", 3600), (",ttl=1500ms", 1), (",ttl=-1s", -1)] {
        let signer = load(&format!("priv-key={secret},sign-method=HS512{ttl},colour=green")).unwrap();
        let token = signer.sign("alice", 7, NOW).unwrap();
        assert!(signer.verify(&token, NOW + seconds - 1).is_some(), "{ttl}");
        assert!(signer.verify(&token, NOW + seconds).is_none(), "{ttl}");
    }
}

#[test]
fn errors_say_what_to_do() {
    for (options, says) in [
        (
            "",
            "auth: invalid auth options: auth: invalid auth signature method: sign-method is \"\" and must be one of HS256,",
        ),
        ("sign-method=none", "invalid auth signature method: sign-method is \"none\""),
        ("sign-method=hs256,priv-key=DIR/hmac.key", "invalid auth signature method: sign-method is \"hs256\""),
        ("sign-method", "auth: invalid auth options: \"sign-method\" is not of the form name=value"),
        ("sign-method=HS256,", "\"\" is not of the form name=value"),
        ("sign-method=HS256=1", "\"sign-method=HS256=1\" is not of the form name=value"),
        ("sign-method=HS256,sign-method=HS256", "auth: invalid auth options: sign-method is given twice"),
        (
            "sign-method=HS256,priv-key=DIR/hmac.key,ttl=5",
            "ttl: time: missing unit in duration \"5\"; write it like 5m",
        ),
        (
            "sign-method=RS256,priv-key=/nowhere",
            "auth: invalid auth options: priv-key: cannot read /nowhere: No such file",
        ),
        ("sign-method=HS256", "auth: missing key data: HS256 takes a shared secret;"),
        ("sign-method=HS256,pub-key=DIR/rsa-pub.pem", "auth: missing key data"),
        ("sign-method=RS256", "auth: missing key data: RS256 takes an RSA key"),
        ("sign-method=ES256,pub-key=,priv-key=/dev/null", "auth: missing key data"),
        (
            "sign-method=RS256,priv-key=DIR/rsa.pem,pub-key=DIR/rsa-other-pub.pem",
            "auth: public and private keys don't match",
        ),
        (
            "sign-method=PS256,priv-key=DIR/rsa.pem,pub-key=DIR/rsa-other-pub.pem",
            "auth: public and private keys don't match",
        ),
        (
            "sign-method=ES512,priv-key=DIR/p521.pem,pub-key=DIR/p521-other-pub.pem",
            "auth: public and private keys don't match",
        ),
        (
            "sign-method=EdDSA,priv-key=DIR/ed25519.pem,pub-key=DIR/ed25519-other-pub.pem",
            "auth: public and private keys don't match",
        ),
        (
            "sign-method=RS256,priv-key=DIR/hmac.key",
            "priv-key: cannot use DIR/hmac.key: it has no block in PEM; RS256 takes",
        ),
        ("sign-method=RS256,priv-key=DIR/rsa-pub.pem", "priv-key: cannot use DIR/rsa-pub.pem: "),
        ("sign-method=RS256,priv-key=DIR/p256.pem", "priv-key: cannot use DIR/p256.pem: "),
        (
            "sign-method=RS256,pub-key=DIR/p256-pub.pem",
            "pub-key: cannot use DIR/p256-pub.pem: its public key is of another",
        ),
        ("sign-method=RS256,pub-key=DIR/rsa.pem", "pub-key: cannot use DIR/rsa.pem: "),
        (
            "sign-method=ES256,priv-key=DIR/p384.pem",
            "priv-key: cannot use DIR/p384.pem: it has no private key of this curve",
        ),
        (
            "sign-method=ES512,priv-key=DIR/p384-sec1.pem",
            "ES512 takes a key of the curve P-521, in PEM and not encrypted",
        ),
        (
            "sign-method=ES384,pub-key=DIR/p256-cert.pem",
            "pub-key: cannot use DIR/p256-cert.pem: its public key is not one of",
        ),
        ("sign-method=EdDSA,priv-key=DIR/p256.pem", "priv-key: cannot use DIR/p256.pem: "),
        (
            "sign-method=EdDSA,pub-key=DIR/rsa-pub.pem",
            "pub-key: cannot use DIR/rsa-pub.pem: its public key is of another kind",
        ),
        ("sign-method=EdDSA,pub-key=DIR/ed25519.pem", "it has neither a public key nor a certificate"),
    ] {
        let said = error(options);
        assert!(said.contains(&says.replace("DIR/", &path(""))), "{options}: {said}");
        assert!(said.starts_with("auth: "), "{said}");
    }
}

proptest! {
    #[test]
    fn no_token_makes_it_panic(header in any::<String>(), claims in any::<String>(), signature in any::<Vec<u8>>(), text in any::<String>()) {
        let signer = jwt("ES256", "p256.pem", "");
        prop_assert_eq!(signer.verify(&text, NOW), None);
        let header = if header.len() % 2 == 0 { r#"{"alg":"ES256"}"#.to_owned() } else { header };
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        prop_assert_eq!(signer.verify(&format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature)), NOW), None);
        prop_assert_eq!(claims::decode(claims.as_bytes(), NOW), None);
    }

    #[test]
    fn no_options_make_it_panic(options in "[a-z=,.-]{0,40}", key in any::<Vec<u8>>()) {
        prop_assert!(load(&options).is_err());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", data_encoding::BASE64.encode(&key));
        for method in Method::ALL.into_iter().filter(|method| !method.name().starts_with("HS")) {
            for text in [&key[..], pem.as_bytes()] {
                prop_assert!(Key::new(method, Some(text), None).is_err());
                prop_assert!(Key::new(method, None, Some(text)).is_err());
            }
        }
    }
}
