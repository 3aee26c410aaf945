// Reading kubeconfig files: what is taken, what is refused, what damage does.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmocka_all.h"
#include "kube_config.h"

static eco_status read_fake(void *arg, const char *path, char **text, size_t *len) {
  (void)arg;
  if (strcmp(path, "/missing") == 0) {
    return eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "no such file");
  }
  *text = strdup(path);
  *len = strlen(path);
  return eco_success();
}

#define HEAD                                                                         \
  "apiVersion: v1\nkind: Config\ncurrent-context: one\n"                             \
  "contexts:\n- name: one\n  context: {cluster: c1, user: u1, namespace: tenants}\n" \
  "- name: two\n  context: {cluster: c2, user: u2}\n"
#define CLUSTERS                                                          \
  "clusters:\n- name: c1\n  cluster: {server: 'https://10.0.0.1:6443/', " \
  "certificate-authority-data: Q0EgT05F}\n"                               \
  "- name: c2\n  cluster: {server: 'https://two', certificate-authority: /pki/ca.crt, tls-server-name: kubernetes}\n"

static eco_status parse(const char *yaml, const char *context, kube_config *out) {
  return kube_config_parse(yaml, strlen(yaml), context, read_fake, NULL, out);
}

static void test_client_certificates_inline(void **state) {
  (void)state;
  kube_config c;
  eco_status st = parse(
      HEAD CLUSTERS "users:\n- name: u1\n  user: {client-certificate-data: Q0VSVA==, client-key-data: S0VZ}\n", "", &c);
  assert_true(eco_ok(st));
  assert_string_equal(c.server, "https://10.0.0.1:6443");
  assert_string_equal(c.ca_pem, "CA ONE");
  assert_string_equal(c.cert_pem, "CERT");
  assert_string_equal(c.key_pem, "KEY");
  assert_string_equal(c.name_space, "tenants");
  assert_string_equal(c.token, "");
  kube_config_free(&c);
}

static void test_files_tokens_and_another_context(void **state) {
  (void)state;
  kube_config c;
  eco_status st = parse(HEAD CLUSTERS "users:\n- name: u2\n  user: {token: abc, tokenFile: /var/token}\n", "two", &c);
  assert_true(eco_ok(st));
  assert_string_equal(c.server, "https://two");
  assert_string_equal(c.ca_pem, "/pki/ca.crt");
  assert_string_equal(c.tls_server_name, "kubernetes");
  assert_string_equal(c.token, "abc");
  assert_string_equal(c.token_file, "/var/token");
  assert_string_equal(c.name_space, "");
  kube_config_free(&c);
}

static void refused(const char *yaml, const char *context, const char *words) {
  kube_config c;
  eco_status st = parse(yaml, context, &c);
  assert_false(eco_ok(st));
  if (!strstr(st.message, words)) {
    fail_msg("\"%s\" does not say \"%s\"", st.message, words);
  }
  assert_null(c.server);  // nothing is left to free
}

static void test_what_is_unsafe_or_unknown_is_refused_with_a_reason(void **state) {
  (void)state;
  refused(HEAD CLUSTERS "users:\n- name: u1\n  user: {exec: {command: aws}}\n", "", "exec credentials are refused");
  refused(HEAD CLUSTERS "users:\n- name: u1\n  user: {auth-provider: {name: gcp}}\n", "", "auth providers are refused");
  refused(HEAD CLUSTERS "users:\n- name: u1\n  user: {username: a, password: b}\n", "", "password are refused");
  refused(HEAD CLUSTERS "users:\n- name: u1\n  user: {as: root, token: x}\n", "", "impersonation");
  refused(HEAD CLUSTERS "users:\n- name: u1\n  user: {client-key-data: S0VZ}\n", "", "needs its key");
  refused(HEAD CLUSTERS "users:\n- name: u1\n  user: {client-key: /missing}\n", "", "no such file");
  refused(HEAD CLUSTERS "users:\n- name: u1\n  user: {client-certificate-data: '!!', client-key-data: S0VZ}\n", "",
          "no base64");
  refused(HEAD CLUSTERS "users: []\n", "", "no user \"u1\"");
  refused(HEAD "users: []\nclusters: []\n", "", "no cluster \"c1\"");
  refused(HEAD CLUSTERS, "three", "no context \"three\"");
  refused("contexts: []\n", "", "names no current-context");
  refused(HEAD
          "clusters:\n- name: c1\n  cluster: {server: 'https://x', insecure-skip-tls-verify: true}\nusers: [{name: u1, "
          "user: {}}]\n",
          "", "insecure-skip-tls-verify is refused");
  refused(HEAD "clusters:\n- name: c1\n  cluster: {server: 'http://x'}\nusers: [{name: u1, user: {}}]\n", "",
          "must be https");
  refused("[]", "", "no mapping");
  refused("", "", "no mapping");
  refused("a: [", "", "line ");
}

static void test_no_damage_to_the_file_does_harm(void **state) {
  (void)state;
  static const char whole[] = HEAD CLUSTERS
      "users:\n- name: u1\n  user: {client-certificate-data: Q0VSVA==, client-key-data: S0VZ, token: abc}\n";
  srand(9);
  char text[sizeof(whole)];
  for (int round = 0; round < 4000; round++) {
    memcpy(text, whole, sizeof(whole));
    size_t len = (size_t)rand() % sizeof(whole);
    for (int k = rand() % 4; k > 0; k--) {
      text[(size_t)rand() % sizeof(whole)] = "{}[]:,-&*!|>'\" \n\t%@`x"[rand() % 21];
    }
    kube_config c;
    eco_status st = kube_config_parse(text, rand() % 2 ? len : sizeof(whole) - 1, "", read_fake, NULL, &c);
    if (eco_ok(st)) {
      assert_true(strncmp(c.server, "https://", 8) == 0);
      kube_config_free(&c);
    }
  }
}

static void write_file(const char *dir, const char *name, const char *text) {
  char path[512];
  (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  (void)fputs(text, f);
  (void)fclose(f);
}

static void test_relative_names_lie_beside_the_file(void **state) {
  (void)state;
  char dir[] = "/tmp/ecolink-kubeconfig-XXXXXX";
  char path[512];
  char expected[512];
  kube_config c;
  assert_non_null(mkdtemp(dir));
  write_file(dir, "ca.crt", "THE CA");
  write_file(dir, "config",
             "current-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n"
             "clusters: [{name: a, cluster: {server: 'https://a', certificate-authority: ca.crt}}]\n"
             "users: [{name: a, user: {tokenFile: token}}]\n");
  (void)snprintf(path, sizeof(path), "%s/config", dir);
  eco_status st = kube_config_load(path, "", &c);
  if (!eco_ok(st)) {
    fail_msg("%s", st.message);
  }
  assert_string_equal(c.ca_pem, "THE CA");
  (void)snprintf(expected, sizeof(expected), "%s/token", dir);
  assert_string_equal(c.token_file, expected);
  kube_config_free(&c);
  assert_false(eco_ok(kube_config_load("/nowhere/config", "", &c)));

  write_file(dir, "token", "abc");
  write_file(dir, "namespace", "tenants\n");
  assert_true(eco_ok(kube_config_in_cluster(dir, "10.0.0.1", "443", &c)));
  assert_string_equal(c.server, "https://10.0.0.1:443");
  assert_string_equal(c.name_space, "tenants");
  assert_string_equal(c.token_file, expected);
  kube_config_free(&c);
  assert_true(eco_ok(kube_config_in_cluster(dir, "fd00::1", "443", &c)));
  assert_string_equal(c.server, "https://[fd00::1]:443");
  kube_config_free(&c);
  assert_false(eco_ok(kube_config_in_cluster(dir, NULL, "443", &c)));
  const char *const names[] = {"ca.crt", "config", "token", "namespace"};
  for (size_t i = 0; i < 4; i++) {
    (void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
    (void)remove(path);
  }
  (void)remove(dir);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_client_certificates_inline),
      cmocka_unit_test(test_files_tokens_and_another_context),
      cmocka_unit_test(test_what_is_unsafe_or_unknown_is_refused_with_a_reason),
      cmocka_unit_test(test_no_damage_to_the_file_does_harm),
      cmocka_unit_test(test_relative_names_lie_beside_the_file),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
