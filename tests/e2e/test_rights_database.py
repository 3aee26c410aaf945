"""What each database role of a running stack may do, and that it may do nothing else.

Tables, functions and roles are enumerated from the catalogue: a new table is covered without a change of this file.
"""
import psycopg2
import pytest
from eco.inside import DATABASE, Inside
from psycopg2 import errors, sql

ROLES = [f"{s}_{kind}" for s in DATABASE for kind in ("app", "owner")]
APPS = [f"{s}_app" for s in DATABASE]
OWNERS = [f"{s}_owner" for s in DATABASE]
LEDGER = ("ledger_transactions", "ledger_entries")
REFUSED = (errors.InsufficientPrivilege,)


@pytest.fixture(scope="module")
def inside(stack):
    return Inside(stack)


@pytest.fixture(scope="module")
def catalogue(stack):
    """[(schema, table)] of the database, PostgreSQL's own aside."""
    rows = stack.psql("SELECT n.nspname || ' ' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                      " WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^(pg_|information_schema)' ORDER BY 1")
    tables = [tuple(r.split()) for r in rows.splitlines()]
    assert {s for s, _ in tables} == set(DATABASE) and len(tables) > 40
    return tables


@pytest.fixture
def connect(inside):
    made = []

    def open_(role, database="ecolink"):
        made.append(inside.database(role, database))
        return made[-1]

    yield open_
    for c in made:
        c.close()


def refused(connection, statement, *params, by=REFUSED):
    with connection.cursor() as cur:
        try:
            cur.execute(statement, params or None)
        except by:
            return True
        except psycopg2.Error as e:
            raise AssertionError(f"{statement}: refused for another reason: {e!r}") from e
    return False


def q(text, *names):
    return sql.SQL(text).format(*(sql.Identifier(*n) if isinstance(n, tuple) else sql.Identifier(n) for n in names))


EVERYTHING = ("SELECT * FROM {0} LIMIT 1", "INSERT INTO {0} DEFAULT VALUES", "DELETE FROM {0}", "TRUNCATE {0}", "DO $$ BEGIN LOCK TABLE {0}; END $$",
              "ALTER TABLE {0} ADD COLUMN intruder int", "DROP TABLE {0}", "CREATE INDEX ON {0} ((1))",
              "CREATE TRIGGER intruder BEFORE INSERT ON {0} EXECUTE FUNCTION suppress_redundant_updates_trigger()",
              "ALTER TABLE {0} DISABLE TRIGGER ALL", "GRANT SELECT ON {0} TO PUBLIC", "COPY {0} TO STDOUT")


@pytest.mark.parametrize("role", ROLES)
def test_a_role_gets_at_no_table_of_another_service(connect, catalogue, role):
    c, own = connect(role), role.split("_")[0]
    foreign = [t for t in catalogue if t[0] != own]
    assert len(foreign) > 25
    for table in foreign:
        for statement in EVERYTHING:
            assert refused(c, q(statement, table)), (role, statement, table)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_makes_nothing_in_another_schema(connect, role):
    c, own = connect(role), role.split("_")[0]
    for schema in [s for s in (*DATABASE, "public", "pg_catalog", "information_schema") if s != own]:
        for statement in ("CREATE TABLE {0} (a int)", "CREATE VIEW {0} AS SELECT 1", "CREATE SEQUENCE {0}",
                          "CREATE FUNCTION {0}() RETURNS int LANGUAGE sql AS 'SELECT 1'", "CREATE TYPE {0} AS (a int)"):
            assert refused(c, q(statement, (schema, "intruder"))), (role, statement, schema)


def rights(stack, role):
    """{(table, right)} that the role holds in its schema, by the server's own reckoning (what PUBLIC holds included)."""
    schema = role.split("_")[0]
    rows = stack.psql(
        "SELECT c.relname || ' ' || p FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,"
        " unnest(ARRAY['SELECT','INSERT','UPDATE','DELETE','TRUNCATE','REFERENCES','TRIGGER']) p"
        f" WHERE n.nspname = '{schema}' AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND has_table_privilege('{role}', c.oid, p)")
    return {tuple(r.split()) for r in rows.splitlines()}


@pytest.mark.parametrize("role", APPS)
def test_an_app_role_reads_and_writes_rows_and_that_is_all(stack, connect, catalogue, role):
    c, own = connect(role), role.split("_")[0]
    held = rights(stack, role)
    assert {r for _, r in held} <= {"SELECT", "INSERT", "UPDATE", "DELETE"}
    for table in [t for t in catalogue if t[0] == own]:
        for right, statement in (("SELECT", "SELECT 1 FROM {0} LIMIT 0"), ("DELETE", "DELETE FROM {0} WHERE false")):
            assert refused(c, q(statement, table)) == ((table[1], right) not in held), (role, table, right)
        for statement in EVERYTHING[3:4] + EVERYTHING[5:10]:  # TRUNCATE, ALTER, DROP, index, triggers
            assert refused(c, q(statement, table)), (role, statement, table)
        with c.cursor() as cur:  # a GRANT without the right to it warns and gives nothing
            try:
                cur.execute(q("GRANT ALL ON {0} TO PUBLIC", table))
            except errors.InsufficientPrivilege:
                pass
    assert rights(stack, role) == held
    for statement in (f"CREATE TABLE {own}.intruder (a int)", f"CREATE SCHEMA intruder_{own}", f"DROP SCHEMA {own} CASCADE",
                      f"CREATE FUNCTION {own}.intruder() RETURNS int LANGUAGE sql AS 'SELECT 1'",
                      f"ALTER SCHEMA {own} RENAME TO x", f"SELECT * FROM {own}.schema_migrations"):
        assert refused(c, statement), (role, statement)


@pytest.mark.parametrize("table", LEDGER)
def test_the_ledger_takes_new_rows_and_nothing_else(stack, connect, table):
    assert {r for t, r in rights(stack, "billing_app") if t == table} == {"SELECT", "INSERT"}
    c = connect("billing_app")
    columns = stack.psql(f"SELECT attname FROM pg_attribute WHERE attrelid = 'billing.{table}'::regclass AND attnum > 0"
                         " AND NOT attisdropped").splitlines()
    assert len(columns) > 4
    for column in columns:
        assert refused(c, q("UPDATE {0} SET {1} = DEFAULT", ("billing", table), column)), column
        assert refused(c, q("SELECT {1} FROM {0} FOR UPDATE", ("billing", table), column)), column
    for statement in ("DELETE FROM {0}", "TRUNCATE {0}", "TRUNCATE {0} CASCADE", "ALTER TABLE {0} DISABLE TRIGGER ALL",
                      "DROP TABLE {0} CASCADE", "ALTER TABLE {0} RENAME TO x", "CREATE RULE x AS ON INSERT TO {0} DO INSTEAD NOTHING"):
        assert refused(c, q(statement, ("billing", table))), statement
    assert refused(c, "SET session_replication_role = replica")  # that would silence the triggers


@pytest.mark.parametrize("table", LEDGER)
def test_even_the_ledgers_owner_is_refused_a_change_until_it_takes_the_trigger_away(connect, table):
    """The owner migrates and could undo any of this: its password is the migration's alone. A slip is refused none the less."""
    c = connect("billing_owner")
    for statement in (f"UPDATE billing.{table} SET created_at_us = 0", f"DELETE FROM billing.{table}", f"TRUNCATE billing.{table} CASCADE"):
        assert refused(c, statement, by=(errors.IntegrityConstraintViolation,)), statement


def test_app_roles_own_nothing_and_belong_to_nobody(stack):
    """A role that owns a table can grant itself back what was revoked; a member of a role is that role."""
    assert stack.psql("SELECT count(*) FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE r.rolname ~ '_app$'") == "0"
    assert stack.psql("SELECT count(*) FROM pg_proc c JOIN pg_roles r ON r.oid = c.proowner WHERE r.rolname ~ '_(app|owner)$'"
                      " AND prosecdef") == "0"
    assert stack.psql("SELECT count(*) FROM pg_namespace c JOIN pg_roles r ON r.oid = c.nspowner WHERE r.rolname ~ '_app$'") == "0"
    assert stack.psql("SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid IN (m.member, m.roleid)"
                      " WHERE r.rolname ~ '_(app|owner)$'") == "0"
    assert stack.psql("SELECT count(*) FROM pg_roles WHERE rolname ~ '_(app|owner)$' AND (rolsuper OR rolcreaterole OR rolcreatedb"
                      " OR rolreplication OR rolbypassrls)") == "0"
    known = set(stack.psql("SELECT rolname FROM pg_roles WHERE rolcanlogin AND NOT rolsuper").splitlines())
    assert known == set(ROLES)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_becomes_nobody_else(stack, connect, role):
    c = connect(role)
    everybody = stack.psql("SELECT rolname FROM pg_roles").splitlines()
    for other in [r for r in everybody if r != role]:
        assert refused(c, q("SET ROLE {0}", other)), other
        assert refused(c, q("SET SESSION AUTHORIZATION {0}", other)), other
        # this one has no members, whoever asks: PostgreSQL 17 says so before it looks at rights
        memberless = (errors.InternalError_,) if other == "pg_database_owner" else ()
        assert refused(c, q("GRANT {0} TO CURRENT_USER", other), by=(*REFUSED, *memberless)), other
        assert refused(c, q("ALTER ROLE {0} PASSWORD 'x'", other), by=(*REFUSED, errors.ReservedName)), other
    for statement in ("CREATE ROLE intruder", "ALTER ROLE CURRENT_USER SUPERUSER", "ALTER ROLE CURRENT_USER CREATEROLE",
                      "ALTER ROLE CURRENT_USER BYPASSRLS", f"REASSIGN OWNED BY {role.split('_')[0]}_owner TO postgres"):
        assert refused(c, statement), statement


@pytest.mark.parametrize("role", ROLES)
def test_a_role_reads_no_passwords_files_or_other_peoples_queries(connect, role):
    c = connect(role)
    for statement in ("SELECT * FROM pg_authid", "SELECT * FROM pg_shadow", "SELECT * FROM pg_user_mapping", "SELECT * FROM pg_statistic",
                      "SELECT * FROM pg_largeobject", "SELECT pg_read_file('PG_VERSION')", "SELECT pg_ls_dir('.')",
                      "SELECT pg_stat_file('PG_VERSION')", "COPY (SELECT 1) TO '/tmp/intruder'", "COPY (SELECT 1) TO PROGRAM 'true'",
                      "SELECT lo_import('/etc/passwd')", "SELECT lo_export(0, '/tmp/intruder')", "ALTER SYSTEM SET work_mem = '1MB'",
                      "SELECT pg_reload_conf()", "SELECT pg_read_binary_file('PG_VERSION')", "SELECT * FROM pg_hba_file_rules",
                      "SELECT * FROM pg_file_settings", "DROP EXTENSION plpgsql CASCADE",
                      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres' OR usename IS NULL",
                      "CREATE SERVER s FOREIGN DATA WRAPPER w", "CREATE PUBLICATION p FOR ALL TABLES",
                      "CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION x()", "SELECT pg_switch_wal()"):
        assert refused(c, statement, by=(errors.InsufficientPrivilege, errors.UndefinedObject, errors.UndefinedFile)), statement
    with c.cursor() as cur:
        cur.execute("SELECT count(*) FROM pg_stat_activity WHERE usename <> current_user AND query NOT IN ('', '<insufficient privilege>')")
        assert cur.fetchone() == (0,)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_leaves_no_objects_of_its_own_outside_its_tables(connect, role):
    c = connect(role)
    assert refused(c, "CREATE TEMP TABLE intruder (a int)")
    assert refused(c, "CREATE SCHEMA intruder")
    assert refused(c, "CREATE DATABASE intruder") and refused(c, "CREATE TABLESPACE t LOCATION '/tmp'")
    for call in ("lo_create(0)", "lo_creat(-1)", "lo_from_bytea(0, '\\x00')"):
        assert refused(c, f"SELECT {call}"), call


@pytest.mark.parametrize("role", ROLES)
def test_a_role_connects_to_its_database_alone_and_with_its_password_alone(stack, inside, role):
    for database in [d for d in stack.psql("SELECT datname FROM pg_database").splitlines() if d != "ecolink"]:
        with pytest.raises(psycopg2.OperationalError):
            inside.database(role, database)
    other = ROLES[(ROLES.index(role) + 1) % len(ROLES)]
    for password in ("", "wrong", role, inside.secret(f"pg_{other}")):
        with pytest.raises(psycopg2.OperationalError):
            psycopg2.connect(host="127.0.0.1", port=stack.ports["POSTGRES"], user=role, password=password, dbname="ecolink")


def test_the_superuser_is_not_reached_over_the_network(stack):
    for password in ("", "postgres"):
        with pytest.raises(psycopg2.OperationalError):
            psycopg2.connect(host="127.0.0.1", port=stack.ports["POSTGRES"], user="postgres", password=password, dbname="ecolink")


def test_public_holds_nothing(stack):
    assert stack.psql("SELECT count(*) FROM pg_namespace n, aclexplode(n.nspacl) a WHERE a.grantee = 0"
                      " AND n.nspname NOT IN ('pg_catalog', 'information_schema')") == "0"
    assert stack.psql("SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) a"
                      " WHERE a.grantee = 0 AND n.nspname NOT IN ('pg_catalog', 'information_schema')") == "0"
    # an ACL that was never set gives PUBLIC the default: connect and temporary tables
    assert stack.psql("SELECT count(*) FROM pg_database d WHERE datname <> 'template0' AND (datacl IS NULL OR EXISTS"
                      " (SELECT 1 FROM aclexplode(datacl) a WHERE a.grantee = 0))") == "0"


def test_services_run_without_their_owners_password(inside):
    """Only `migrate` gets it: a service that is taken over cannot undo its own rights."""
    for s in DATABASE:
        text = (inside.stack.state / f"env/{s}.env").read_text()
        owner = inside.secret(f"pg_{s}_owner")
        assert "MIGRATE_DATABASE_URL" not in text and owner not in text
        others = [inside.secret(f"pg_{o}_{k}") for o in DATABASE for k in ("app", "owner") if (o, k) != (s, "app")]
        assert not any(o in text for o in others)
    gateway = (inside.stack.state / "env/gateway.env").read_text()
    assert "DATABASE" not in gateway and "SEAL_SECRET" not in gateway
