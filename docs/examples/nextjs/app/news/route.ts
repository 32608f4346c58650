import { signedInUser } from "../../lib/daypass";
import { newsOf } from "../../lib/news";

export async function GET(request: Request): Promise<Response> {
  return Response.json(newsOf(signedInUser(request)));
}
