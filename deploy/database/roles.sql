-- The database, and per service a schema, its owner role (migrates) and its app role (runs). Safe to run again.
-- Read by psql, connected to any database as a role that may create databases and roles. Before it are set, from standard
-- input so that no command line shows them: `\set database ecolink` and the passwords, `\set registry_owner …`, `\set registry_app …`, and
-- so on for each service. A database of another name is for installations that share a server.
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
SELECT format('CREATE DATABASE %I', :'database') WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
\connect :"database"
SET client_min_messages = warning;
REVOKE ALL ON DATABASE :"database", postgres, template1 FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
-- large objects belong to no schema and to whoever makes them
REVOKE EXECUTE ON FUNCTION lo_create(oid), lo_creat(integer), lo_from_bytea(oid, bytea) FROM PUBLIC;

SELECT format('CREATE ROLE %I LOGIN', service || kind)
  FROM unnest(ARRAY['registry', 'scheduler', 'billing', 'health']) service, unnest(ARRAY['_owner', '_app']) kind
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = service || kind) \gexec
ALTER ROLE registry_owner PASSWORD :'registry_owner';
ALTER ROLE registry_app PASSWORD :'registry_app';
ALTER ROLE scheduler_owner PASSWORD :'scheduler_owner';
ALTER ROLE scheduler_app PASSWORD :'scheduler_app';
ALTER ROLE billing_owner PASSWORD :'billing_owner';
ALTER ROLE billing_app PASSWORD :'billing_app';
ALTER ROLE health_owner PASSWORD :'health_owner';
ALTER ROLE health_app PASSWORD :'health_app';

-- a role that sets all this up without being a superuser must belong to a role to give it a schema
SELECT format('GRANT %I TO CURRENT_USER', service || '_owner')
  FROM unnest(ARRAY['registry', 'scheduler', 'billing', 'health']) service
 WHERE NOT pg_has_role(service || '_owner', 'MEMBER') \gexec
SELECT format(line, service, :'database')
  FROM unnest(ARRAY['registry', 'scheduler', 'billing', 'health']) WITH ORDINALITY s(service, nth),
       unnest(ARRAY[
         'ALTER ROLE %1$I_owner IN DATABASE %2$I SET search_path = %1$I',
         'ALTER ROLE %1$I_app IN DATABASE %2$I SET search_path = %1$I',
         'GRANT CONNECT ON DATABASE %2$I TO %1$I_owner, %1$I_app',
         'CREATE SCHEMA IF NOT EXISTS %1$I AUTHORIZATION %1$I_owner',
         'REVOKE ALL ON SCHEMA %1$I FROM PUBLIC',
         'GRANT USAGE ON SCHEMA %1$I TO %1$I_app']) WITH ORDINALITY l(line, step)
 ORDER BY nth, step \gexec
