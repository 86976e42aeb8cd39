%%% @doc An HTTP server on loopback that serves bytes as a test tells it to, also over TLS with a
%%% certificate of its own CA. Each request is told to its owner as `{request, Server, Path, Headers}'.
-module(bct_files).
-export([start/1, start_tls/2, stop/1, url/2, whole/1, part/2, paths/1]).

-include_lib("public_key/include/public_key.hrl").

%% @doc Serves by Handler: `(Path, Headers) -> Reply', where a reply is `{send, Bytes}' (and close) or
%% `{hang, Bytes}' (and wait for the other side to close, which is told as `{closed, Server}').
start(Handler) ->
    start(gen_tcp, [], "http://127.0.0.1:", Handler).

%% @doc The same over TLS; the certificate of the CA is in File.
start_tls(File, Handler) ->
    Address = #'Extension'{extnID = ?'id-ce-subjectAltName', extnValue = [{iPAddress, <<127, 0, 0, 1>>}],
                           critical = false},
    Key = [{key, {namedCurve, secp256r1}}, {digest, sha256}],
    Chain = #{root => Key, intermediates => [], peer => [{extensions, [Address]} | Key]},
    Empty = #{root => Key, intermediates => [], peer => Key},
    #{server_config := Config, client_config := Client} =
        public_key:pkix_test_data(#{server_chain => Chain, client_chain => Empty}),
    Pem = public_key:pem_encode([{'Certificate', Ca, not_encrypted} || Ca <- proplists:get_value(cacerts, Client)]),
    ok = file:write_file(File, Pem),
    {ok, _} = application:ensure_all_started(ssl),
    start(ssl, Config, "https://127.0.0.1:", Handler).

start(Transport, Options, Prefix, Handler) ->
    Owner = self(),
    {Pid, Monitor} = spawn_monitor(fun() ->
        All = [binary, {ip, {127, 0, 0, 1}}, {active, false}, {packet, http_bin}, {reuseaddr, true}
               | Options],
        {ok, Listen} = Transport:listen(0, All),
        Owner ! {self(), port(Transport, Listen)},
        accept(Transport, Listen, Owner, self(), Handler)
    end),
    receive
        {Pid, Port} ->
            demonitor(Monitor, [flush]),
            #{pid => Pid, url => Prefix ++ integer_to_list(Port)};
        {'DOWN', Monitor, process, Pid, Reason} ->
            error(Reason)
    end.

port(gen_tcp, Listen) -> element(2, inet:port(Listen));
port(ssl, Listen) -> {ok, {_, Port}} = ssl:sockname(Listen), Port.

stop(#{pid := Pid}) ->
    Monitor = monitor(process, Pid),
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end.

url(#{url := Url}, Path) ->
    iolist_to_binary([Url, Path]).

%% @doc A whole answer.
whole(Body) ->
    {send, ["HTTP/1.1 200 OK\r\netag: \"1\"\r\nconnection: close\r\ncontent-length: ",
            integer_to_list(byte_size(Body)), "\r\n\r\n", Body]}.

%% @doc What a server that knows ranges sends, at most Most bytes at a time.
part(Body, #{<<"Range">> := <<"bytes=", Range/binary>>}) ->
    [Start | _] = binary:split(Range, <<"-">>),
    From = binary_to_integer(Start),
    Size = byte_size(Body),
    Rest = binary:part(Body, From, Size - From),
    {send, [io_lib:format("HTTP/1.1 206 Partial\r\netag: \"1\"\r\nconnection: close\r\ncontent-range: "
                          "bytes ~b-~b/~b\r\ncontent-length: ~b\r\n\r\n", [From, Size - 1, Size, byte_size(Rest)]),
            Rest]};
part(Body, _Headers) ->
    {send, Bytes} = whole(Body),
    Half = iolist_size(Bytes) - byte_size(Body) div 2,
    {send, binary:part(iolist_to_binary(Bytes), 0, Half)}.

%% @doc The paths that were asked for until now.
paths(#{pid := Pid} = Server) ->
    receive {request, Pid, Path, _} -> [Path | paths(Server)] after 0 -> [] end.

accept(Transport, Listen, Owner, Server, Handler) ->
    case accepted(Transport, Listen) of
        {ok, Socket} -> serve(Transport, Socket, Owner, Server, Handler);
        {error, _} -> ok
    end,
    accept(Transport, Listen, Owner, Server, Handler).

accepted(gen_tcp, Listen) ->
    gen_tcp:accept(Listen);
accepted(ssl, Listen) ->
    {ok, Socket} = ssl:transport_accept(Listen),
    ssl:handshake(Socket, 120000).

serve(Transport, Socket, Owner, Server, Handler) ->
    case request(Transport, Socket, undefined, #{}) of
        {Path, Headers} ->
            Owner ! {request, Server, Path, Headers},
            reply(Handler(Path, Headers), Transport, Socket, Owner, Server);
        closed ->
            ok
    end.

reply({send, Bytes}, Transport, Socket, _Owner, _Server) ->
    _ = Transport:send(Socket, Bytes),
    Transport:close(Socket);
reply({hang, Bytes}, Transport, Socket, Owner, Server) ->
    _ = Transport:send(Socket, Bytes),
    {error, _} = Transport:recv(Socket, 0),
    Owner ! {closed, Server}.

request(Transport, Socket, Path, Headers) ->
    case Transport:recv(Socket, 0) of
        {ok, {http_request, 'GET', {abs_path, Asked}, _}} -> request(Transport, Socket, Asked, Headers);
        {ok, {http_header, _, Name, _, Value}} -> request(Transport, Socket, Path, Headers#{name(Name) => Value});
        {ok, http_eoh} -> {Path, Headers};
        {error, _} -> closed
    end.

name(Name) when is_atom(Name) -> atom_to_binary(Name);
name(Name) -> Name.
