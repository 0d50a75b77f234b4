// Run by the service mongodb-init with mongosh, at every start of the installation: it makes the
// replica set, the roles and the users, or brings them to what is written here. Passwords come from
// the files in /run/secrets.
//
// It speaks to the server over 127.0.0.1, from within the server's own network. Only from there, and
// only while there is no user at all, MongoDB lets someone in without a password: that is how the
// first user is made, so the server itself needs no secret.
'use strict';

const fs = require('fs');

const database = 'tungstene';
const all = { db: database, collection: '' };

// A privilege on some collections of the database.
const on = (collections, actions) =>
  collections.map((collection) => ({ resource: { db: database, collection }, actions }));

const roles = [
  {
    // A master reads everything, for the status page, and writes the state of the control plane. Like
    // every role it declares the indexes at its start. Its readiness check deletes from progress a
    // document that is not there.
    role: 'tungsteneMaster',
    privileges: [
      { resource: all, actions: ['find', 'listCollections', 'listIndexes', 'createCollection', 'createIndex'] },
      ...on(['events', 'channels', 'assignments', 'members', 'leases'], ['insert', 'update', 'remove']),
      ...on(['progress'], ['remove']),
    ],
  },
  {
    // An analyst reads what was collected and counted, and nothing of how it is run.
    role: 'tungsteneAnalyst',
    privileges: [
      { resource: all, actions: ['listCollections'] },
      ...on(
        ['records', 'minutes', 'hours', 'totals', 'events', 'channels', 'progress'],
        ['find', 'listIndexes', 'collStats'],
      ),
    ],
  },
];

const users = [
  { user: 'root', roles: [{ role: 'root', db: 'admin' }] },
  { user: 'master', roles: [{ role: 'tungsteneMaster', db: 'admin' }] },
  { user: 'consumer', roles: [{ role: 'readWrite', db: database }] },
  { user: 'analyst', roles: [{ role: 'tungsteneAnalyst', db: 'admin' }] },
];

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
    admin.runCommand({ createUser: 'root', pwd: password('root'), roles: users[0].roles });
  } catch (second) {
    throw new Error(
      `root can't log in (${first.message}) and is not new (${second.message}): ` +
        'is deploy/secrets/mongodb-root.txt the one that this database was made with?',
    );
  }
  login();
  print('the user root is made');
}

for (const { role, privileges } of roles) {
  const known = admin.runCommand({ rolesInfo: { role, db: 'admin' } }).roles.length > 0;
  admin.runCommand({ [known ? 'updateRole' : 'createRole']: role, privileges, roles: [] });
}
for (const { user, roles: granted } of users) {
  const known = admin.runCommand({ usersInfo: { user, db: 'admin' } }).users.length > 0;
  admin.runCommand({ [known ? 'updateUser' : 'createUser']: user, pwd: password(user), roles: granted });
}
print(`users: ${users.map((u) => u.user).join(', ')}`);
