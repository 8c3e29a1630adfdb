use x509_cert::der::DecodePem;

use super::*;

#[test]
fn a_key_survives_its_file_and_never_shows_itself() {
    let key = Key::generate().unwrap();
    let pem = key.to_pem().unwrap();
    let read = Key::from_pem(pem.as_bytes()).unwrap();
    assert_eq!(read.fingerprint(), key.fingerprint());
    assert_ne!(Key::generate().unwrap().fingerprint(), key.fingerprint());
    let shown = format!("{key:?}");
    assert_eq!(shown, format!("Key {{ fingerprint: {:?}, .. }}", key.fingerprint()));
}

#[test]
fn what_is_no_p256_key_is_an_error() {
    let key = Key::generate().unwrap();
    for text in ["", "PRIVATE KEY", &key.request("n1").unwrap(), &key.to_pem().unwrap()[..100]] {
        assert!(Key::from_pem(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn a_request_names_node_and_group_and_nothing_else() {
    let key = Key::generate().unwrap();
    let request = CertReq::from_pem(key.request("worker-1.example").unwrap()).unwrap();
    assert_eq!(node_of(&request.info.subject).as_deref(), Ok("worker-1.example"));
    assert_eq!(request.info.public_key, key.public().unwrap());
    assert!(request.info.attributes.is_empty());
}
