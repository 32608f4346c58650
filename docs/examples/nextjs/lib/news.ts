// Stands for a table of your database, where the id is unique: the same one may come again, after a
// crash or a replay.

export interface News {
  id: string;
  user: string;
  event: string;
  data: unknown;
}

const news = new Map<string, News>();

export function keep(one: News): void {
  if (!news.has(one.id)) news.set(one.id, one);
}

export function newsOf(user: string): News[] {
  return [...news.values()].filter((one) => one.user === user);
}
