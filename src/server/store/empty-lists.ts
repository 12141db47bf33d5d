// A list without elements holds nothing: `x in ()` is false. SQLite takes it as it stands, PostgreSQL as a mistake.

import { HandleEmptyInListsPlugin, replaceWithNoncontingentExpression } from 'kysely'

export const emptyLists = new HandleEmptyInListsPlugin({ strategy: replaceWithNoncontingentExpression })
