// Run by the service mongodb-init with mongosh, at every start of the installation: it makes the
// replica set, the roles and the users, or brings them to what is written here. Passwords come from
// the files in /run/secrets.
//
// It speaks to the server over 127.0.0.1, from within the server's own network. Only from there, and
// only while there is no user at all, MongoDB lets someone in without a password: that is how the
// first user is made, so the server itself needs no secret.
'use strict';

const fs = require('fs');

// The rights of pkg/store/mongo/permissions.go, as 'tungstene permissions show --database --json'
// prints them; a test holds the two equal. "password" names the file in /run/secrets.
const rights = /* rights */ {
  "roles": [
    {
      "role": "tungsteneMaster",
      "does": "events, channels, assignments, members, leases, corrections, goals and the state documents of repair and privacy; records that are uploaded and their marks; the readiness check removes from progress what is not there",
      "privileges": [
        { "resource": { "db": "tungstene", "collection": "" }, "actions": ["find", "listCollections", "listIndexes", "createCollection", "createIndex"] },
        { "resource": { "db": "tungstene", "collection": "events" }, "actions": ["insert", "update", "remove"] },
        { "resource": { "db": "tungstene", "collection": "channels" }, "actions": ["insert", "update", "remove"] },
        { "resource": { "db": "tungstene", "collection": "assignments" }, "actions": ["insert", "update", "remove"] },
        { "resource": { "db": "tungstene", "collection": "members" }, "actions": ["insert", "update", "remove"] },
        { "resource": { "db": "tungstene", "collection": "leases" }, "actions": ["insert", "update", "remove"] },
        { "resource": { "db": "tungstene", "collection": "marks" }, "actions": ["insert", "update", "remove"] },
        { "resource": { "db": "tungstene", "collection": "letters" }, "actions": ["insert", "update", "remove"] },
        { "resource": { "db": "tungstene", "collection": "tombstones" }, "actions": ["insert", "update", "remove"] },
        { "resource": { "db": "tungstene", "collection": "manifests" }, "actions": ["insert", "update", "remove"] },
        { "resource": { "db": "tungstene", "collection": "drains" }, "actions": ["insert", "update", "remove"] },
        { "resource": { "db": "tungstene", "collection": "goals" }, "actions": ["insert", "update", "remove"] },
        { "resource": { "db": "tungstene", "collection": "corrections" }, "actions": ["insert"] },
        { "resource": { "db": "tungstene", "collection": "records" }, "actions": ["insert", "remove"] },
        { "resource": { "db": "tungstene", "collection": "progress" }, "actions": ["remove"] }
      ]
    },
    {
      "role": "tungsteneConsumer",
      "does": "stores, counts, erases and freezes; the control plane's own (channels, assignments, drains, corrections, goals) is only read",
      "privileges": [
        { "resource": { "db": "tungstene", "collection": "" }, "actions": ["find", "listCollections", "listIndexes", "createCollection", "createIndex"] },
        { "resource": { "db": "tungstene", "collection": "records" }, "actions": ["insert", "update", "remove"] },
        { "resource": { "db": "tungstene", "collection": "minutes" }, "actions": ["insert", "update", "remove"] },
        { "resource": { "db": "tungstene", "collection": "hours" }, "actions": ["insert", "update", "remove"] },
        { "resource": { "db": "tungstene", "collection": "totals" }, "actions": ["insert", "update", "remove"] },
        { "resource": { "db": "tungstene", "collection": "marks" }, "actions": ["insert", "update", "remove"] },
        { "resource": { "db": "tungstene", "collection": "progress" }, "actions": ["insert", "update", "remove"] },
        { "resource": { "db": "tungstene", "collection": "members" }, "actions": ["insert", "update", "remove"] },
        { "resource": { "db": "tungstene", "collection": "leases" }, "actions": ["insert", "update", "remove"] },
        { "resource": { "db": "tungstene", "collection": "letters" }, "actions": ["insert", "update", "remove"] },
        { "resource": { "db": "tungstene", "collection": "tombstones" }, "actions": ["insert", "update", "remove"] },
        { "resource": { "db": "tungstene", "collection": "manifests" }, "actions": ["insert", "update", "remove"] },
        { "resource": { "db": "tungstene", "collection": "events" }, "actions": ["insert", "update"] }
      ]
    },
    {
      "role": "tungsteneAnalyst",
      "does": "reads what was collected and counted, and nothing of how it is run",
      "privileges": [
        { "resource": { "db": "tungstene", "collection": "" }, "actions": ["listCollections"] },
        { "resource": { "db": "tungstene", "collection": "records" }, "actions": ["find", "listIndexes", "collStats"] },
        { "resource": { "db": "tungstene", "collection": "minutes" }, "actions": ["find", "listIndexes", "collStats"] },
        { "resource": { "db": "tungstene", "collection": "hours" }, "actions": ["find", "listIndexes", "collStats"] },
        { "resource": { "db": "tungstene", "collection": "totals" }, "actions": ["find", "listIndexes", "collStats"] },
        { "resource": { "db": "tungstene", "collection": "events" }, "actions": ["find", "listIndexes", "collStats"] },
        { "resource": { "db": "tungstene", "collection": "channels" }, "actions": ["find", "listIndexes", "collStats"] },
        { "resource": { "db": "tungstene", "collection": "progress" }, "actions": ["find", "listIndexes", "collStats"] },
        { "resource": { "db": "tungstene", "collection": "manifests" }, "actions": ["find", "listIndexes", "collStats"] },
        { "resource": { "db": "tungstene", "collection": "corrections" }, "actions": ["find", "listIndexes", "collStats"] },
        { "resource": { "db": "tungstene", "collection": "goals" }, "actions": ["find", "listIndexes", "collStats"] }
      ]
    },
    {
      "role": "tungsteneOperator",
      "does": "the tool on an operator's machine (verify, reconcile, manifest check): reads all, writes nothing",
      "privileges": [
        { "resource": { "db": "tungstene", "collection": "" }, "actions": ["find", "listCollections", "listIndexes", "collStats"] }
      ]
    }
  ],
  "users": [
    { "user": "master", "role": "tungsteneMaster", "password": "master" },
    { "user": "consumer", "role": "tungsteneConsumer", "password": "consumer" },
    { "user": "analyst", "role": "tungsteneAnalyst", "password": "analyst" },
    { "user": "operator", "role": "tungsteneOperator", "password": "operator" }
  ]
} /* end of rights */;

const password = (user) => fs.readFileSync(`/run/secrets/mongodb-${user}`, 'utf8').trim();

const admin = new Mongo('mongodb://127.0.0.1:27017/?directConnection=true').getDB('admin');

if (!admin.runCommand({ hello: 1 }).setName) {
  admin.runCommand({
    replSetInitiate: { _id: 'rs0', members: [{ _id: 0, host: 'mongodb:27017' }] },
  });
  print('the replica set is made');
}

const deadline = Date.now() + 60000;
while (!admin.runCommand({ hello: 1 }).isWritablePrimary) {
  if (Date.now() > deadline) {
    throw new Error('no primary within a minute: look at the log of the service mongodb');
  }
  sleep(250);
}

const login = () => admin.auth('root', password('root'));
try {
  login();
} catch (first) {
  try {
    admin.runCommand({ createUser: 'root', pwd: password('root'), roles: [{ role: 'root', db: 'admin' }] });
  } catch (second) {
    throw new Error(
      `root can't log in (${first.message}) and is not new (${second.message}): ` +
        'is deploy/secrets/mongodb-root.txt the one that this database was made with?',
    );
  }
  login();
  print('the user root is made');
}

for (const { role, privileges } of rights.roles) {
  const known = admin.runCommand({ rolesInfo: { role, db: 'admin' } }).roles.length > 0;
  admin.runCommand({ [known ? 'updateRole' : 'createRole']: role, privileges, roles: [] });
}
for (const { user, role, password: whose } of rights.users) {
  const known = admin.runCommand({ usersInfo: { user, db: 'admin' } }).users.length > 0;
  admin.runCommand({
    [known ? 'updateUser' : 'createUser']: user, pwd: password(whose), roles: [{ role, db: 'admin' }],
  });
}
print(`users: ${rights.users.map((u) => u.user).join(', ')}`);
