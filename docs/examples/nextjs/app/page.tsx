// The connect button, and how the consent ended: `connection` is connected, denied or failed.

type Props = { searchParams: Promise<{ connection?: string; reason?: string }> };

export default async function Page({ searchParams }: Props) {
  const { connection, reason } = await searchParams;
  return (
    <main>
      {connection === "connected" && <p>Calendly is connected.</p>}
      {connection && connection !== "connected" && <p>Not connected: {reason}.</p>}
      <form method="post" action="/connect">
        <button>Connect Calendly</button>
      </form>
    </main>
  );
}
