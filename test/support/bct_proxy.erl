%%% @doc A proxy on loopback: whatever host a CONNECT names, it leads to one port of this machine.
-module(bct_proxy).
-export([start/1, start/2, stop/1, url/1, asked/1]).

%% @doc Leads to the port To.
start(To) ->
    start(To, none).

%% @doc The same for who shows this login (`<<"user:password">>') alone; others get status 407.
start(To, Login) ->
    Owner = self(),
    Pid = spawn(fun() ->
        {ok, Listen} = gen_tcp:listen(0, [binary, {ip, {127, 0, 0, 1}}, {active, false},
                                          {packet, http_bin}, {reuseaddr, true}]),
        Owner ! {self(), element(2, inet:port(Listen))},
        Self = self(),
        _ = spawn_link(fun() -> accept(Listen, #{to => To, login => Login, log => Self}) end),
        log([])
    end),
    receive {Pid, Port} -> #{pid => Pid, port => Port} end.

stop(#{pid := Pid}) ->
    Monitor = monitor(process, Pid),
    exit(Pid, shutdown),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end.

url(#{port := Port}) ->
    "http://127.0.0.1:" ++ integer_to_list(Port).

%% @doc What was asked for, each once: `<<"host:port">>', or `{refused, <<"host:port">>}'.
asked(#{pid := Pid}) ->
    Pid ! {asked, self()},
    receive {Pid, Asked} -> lists:usort(Asked) end.

log(Asked) ->
    receive
        {asked, From} -> From ! {self(), Asked}, log(Asked);
        What -> log([What | Asked])
    end.

accept(Listen, Options) ->
    {ok, Socket} = gen_tcp:accept(Listen),
    Server = spawn_link(fun() -> receive go -> serve(Socket, Options) end end),
    ok = gen_tcp:controlling_process(Socket, Server),
    Server ! go,
    accept(Listen, Options).

serve(Socket, Options) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, {http_request, <<"CONNECT">>, {scheme, Host, Port}, _}} ->
            lead(Socket, <<Host/binary, ":", Port/binary>>, login(Socket, none), Options);
        {ok, Other} ->
            error({no_connect, Other});
        {error, closed} ->
            ok
    end.

login(Socket, Login) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, {http_header, _, _, <<"Proxy-Authorization">>, <<"Basic ", Given/binary>>}} ->
            login(Socket, base64:decode(Given));
        {ok, {http_header, _, 'Proxy-Authorization', _, <<"Basic ", Given/binary>>}} ->
            login(Socket, base64:decode(Given));
        {ok, {http_header, _, _, _, _}} ->
            login(Socket, Login);
        {ok, http_eoh} ->
            Login
    end.

lead(Socket, Name, Given, #{to := To, login := Wanted, log := Log}) when Wanted =:= none; Given =:= Wanted ->
    Log ! Name,
    {ok, Other} = gen_tcp:connect({127, 0, 0, 1}, To, [binary, {active, false}]),
    ok = gen_tcp:send(Socket, "HTTP/1.1 200 Connected\r\n\r\n"),
    ok = inet:setopts(Socket, [{packet, raw}, {active, true}]),
    ok = inet:setopts(Other, [{active, true}]),
    pump(Socket, Other);
lead(Socket, Name, _Given, #{log := Log} = Options) ->
    Log ! {refused, Name},
    ok = gen_tcp:send(Socket, "HTTP/1.1 407 Login\r\nproxy-authenticate: Basic realm=x\r\ncontent-length: 0\r\n\r\n"),
    serve(Socket, Options).

pump(One, Two) ->
    receive
        {tcp, One, Bytes} -> _ = gen_tcp:send(Two, Bytes), pump(One, Two);
        {tcp, Two, Bytes} -> _ = gen_tcp:send(One, Bytes), pump(One, Two);
        {tcp_closed, _} -> ok = gen_tcp:close(One), ok = gen_tcp:close(Two);
        {tcp_error, _, _} -> ok
    end.
