%%% @doc A web server on loopback that behaves as a test says, also badly.
%%%
%%% For each request the handler gets the path and the number of times it was asked for before, and
%%% answers:
%%%   {ok, Body}               everything
%%%   {truncated, Body, Sent}  says the length of Body, sends its first bytes and ends the connection
%%%   {status, Code}           a status without content
%%%   silent                   takes the request and never answers
-module(bct_web).

-export([start/1, stop/1, url/1, asked/1]).

%% @doc Starts a server; it ends with `stop/1'.
start(Handler) ->
    Caller = self(),
    Asked = ets:new(bct_web, [public, duplicate_bag]),
    Pid = spawn(fun() ->
        {ok, Listen} = gen_tcp:listen(0, [binary, {packet, http_bin}, {active, false},
                                          {ip, {127, 0, 0, 1}}, {reuseaddr, true}, {backlog, 128}]),
        {ok, Port} = inet:port(Listen),
        Caller ! {self(), Port},
        _ = spawn_link(fun() -> accept(Listen, Handler, Asked) end),
        receive stop -> exit(shutdown) end
    end),
    receive {Pid, Port} -> #{pid => Pid, port => Port, asked => Asked} end.

stop(#{pid := Pid, asked := Asked}) ->
    Monitor = monitor(process, Pid),
    Pid ! stop,
    receive {'DOWN', Monitor, process, _, _} -> ok end,
    true = ets:delete(Asked),
    ok.

url(#{port := Port}) ->
    iolist_to_binary(["http://127.0.0.1:", integer_to_list(Port)]).

%% @doc The paths that were asked for.
asked(#{asked := Asked}) ->
    [Path || {Path} <- ets:tab2list(Asked)].

accept(Listen, Handler, Asked) ->
    case gen_tcp:accept(Listen) of
        {ok, Socket} ->
            _ = spawn_link(fun() -> accept(Listen, Handler, Asked) end),
            serve(Socket, Handler, Asked);
        {error, closed} ->
            ok
    end.

serve(Socket, Handler, Asked) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, {http_request, 'GET', {abs_path, Path}, _}} ->
            ok = headers(Socket),
            Before = length(ets:lookup(Asked, Path)),
            true = ets:insert(Asked, {Path}),
            answer(Handler(Path, Before), Socket);
        _ ->
            gen_tcp:close(Socket)
    end.

headers(Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, http_eoh} -> ok;
        {ok, {http_header, _, _, _, _}} -> headers(Socket)
    end.

answer(silent, Socket) ->
    %% ends with the client's connection
    _ = gen_tcp:recv(Socket, 0),
    gen_tcp:close(Socket);
answer(Answer, Socket) ->
    {Status, Length, Body} = case Answer of
        {ok, Whole} -> {200, byte_size(Whole), Whole};
        {truncated, Whole, Sent} -> {200, byte_size(Whole), binary:part(Whole, 0, Sent)};
        {status, Code} -> {Code, 0, <<>>}
    end,
    ok = inet:setopts(Socket, [{packet, raw}]),
    Head = ["HTTP/1.1 ", integer_to_list(Status), " x\r\ncontent-length: ", integer_to_list(Length),
            "\r\nconnection: close\r\n\r\n"],
    _ = gen_tcp:send(Socket, [Head, Body]),
    gen_tcp:close(Socket).
